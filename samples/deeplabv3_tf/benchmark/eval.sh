#!/usr/bin/env bash
# eval.sh <precision> <shape_mutable> <image_num>: the score of a built model
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
words "$@"
magicmind zoo eval deeplabv3_tf --precision "${word[0]:-force_float32}" --shape-mutable "${word[1]:-true}" --image-num "${word[2]:-1000}" "${option[@]}"
