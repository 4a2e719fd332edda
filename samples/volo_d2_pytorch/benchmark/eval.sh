#!/usr/bin/env bash
# eval.sh <precision> <shape_mutable> <batch_size> <image_num>: the score of a built model
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
words "$@"
magicmind zoo eval volo_d2_pytorch --precision "${word[0]:-force_float32}" --shape-mutable "${word[1]:-true}" --batch-size "${word[2]:-192}" --image-num "${word[3]:-1000}" "${option[@]}"
