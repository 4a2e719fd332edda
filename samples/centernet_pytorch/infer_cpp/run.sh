#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <batch_size> <image_num>, as in: run.sh qint8_mixed_float16 true 1 10
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
words "$@"
magicmind zoo infer centernet_pytorch --precision "${word[0]:-qint8_mixed_float16}" --shape-mutable "${word[1]:-true}" --batch-size "${word[2]:-1}" --image-num "${word[3]:-10}" "${option[@]}"
