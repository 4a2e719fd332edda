#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <batch_size> <image_num>, as in: run.sh force_float32 true 192 1000
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo infer volo_d2_pytorch --precision "${1:-force_float32}" --shape-mutable "${2:-true}" --batch-size "${3:-192}" --image-num "${4:-1000}" "${@:5}"
