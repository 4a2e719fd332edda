#!/usr/bin/env bash
# There is nothing to compile: inference is `magicmind zoo infer`.
