#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <batch_size> [<image_num>], as in: run.sh force_float32 false 1
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
words "$@"
magicmind zoo infer mobilenetv2_caffe --precision "${word[0]:-force_float32}" --shape-mutable "${word[1]:-false}" --batch-size "${word[2]:-1}" --image-num "${word[3]:--1}" "${option[@]}"
