#!/usr/bin/env bash
# eval.sh <precision> <shape_mutable> <batch_size> <image_num>: the score of a built model
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo eval centernet_pytorch --precision "${1:-qint8_mixed_float16}" --shape-mutable "${2:-true}" --batch-size "${3:-1}" --image-num "${4:-10}" "${@:5}"
