#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <batch_size> <image_num>, as in: run.sh force_float32 true 1 100
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
words "$@"
magicmind zoo infer resnet50_onnx --precision "${word[0]:-force_float32}" --shape-mutable "${word[1]:-true}" --batch-size "${word[2]:-1}" --image-num "${word[3]:-100}" "${option[@]}"
