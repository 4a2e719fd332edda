#!/usr/bin/env bash
# Throughput and latency; options of `magicmind zoo perf` may follow.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo perf mobilenetv2_caffe "$@"
