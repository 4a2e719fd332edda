#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <batch_size> <image_num>, as in: run.sh qint8_mixed_float16 true 1 10
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo infer centernet_pytorch --precision "${1:-qint8_mixed_float16}" --shape-mutable "${2:-true}" --batch-size "${3:-1}" --image-num "${4:-10}" "${@:5}"
