#!/usr/bin/env bash
# eval.sh <precision> <shape_mutable> <image_num>: the score of a built model
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo eval deeplabv3_tf --precision "${1:-force_float32}" --shape-mutable "${2:-true}" --image-num "${3:-1000}" "${@:4}"
