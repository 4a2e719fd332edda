#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <batch_size>, as in: run.sh force_float32 true 1
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
words "$@"
magicmind zoo build resnet50_onnx --precision "${word[0]:-force_float32}" --shape-mutable "${word[1]:-true}" --batch-size "${word[2]:-1}" "${option[@]}"
