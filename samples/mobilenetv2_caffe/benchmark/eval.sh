#!/usr/bin/env bash
# eval.sh <precision> <shape_mutable> <batch_size>: the score of a built model
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo eval mobilenetv2_caffe --precision "${1:-force_float32}" --shape-mutable "${2:-false}" --batch-size "${3:-1}" "${@:4}"
