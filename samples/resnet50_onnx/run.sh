#!/usr/bin/env bash
# All of it: export, build, infer, score; options of `magicmind zoo run` may follow.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh" > /dev/null
magicmind zoo run resnet50_onnx --precision force_float32 --shape-mutable true --batch-size 1 "$@"
