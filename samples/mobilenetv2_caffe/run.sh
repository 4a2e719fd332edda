#!/usr/bin/env bash
# All of it: export, build, infer, score; options of `magicmind zoo run` may follow.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh" > /dev/null
magicmind zoo run mobilenetv2_caffe --precision force_float32 --shape-mutable false --batch-size 1 "$@"
