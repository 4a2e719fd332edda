#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <image_num>, as in: run.sh force_float32 true 1000
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo infer deeplabv3_tf --precision "${1:-force_float32}" --shape-mutable "${2:-true}" --image-num "${3:-1000}" "${@:4}"
