#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <image_num>, as in: run.sh force_float32 true 1000
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
words "$@"
magicmind zoo infer deeplabv3_tf --precision "${word[0]:-force_float32}" --shape-mutable "${word[1]:-true}" --image-num "${word[2]:-1000}" "${option[@]}"
