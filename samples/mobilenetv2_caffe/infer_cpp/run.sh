#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <batch_size>, as in: run.sh force_float32 false 1
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo infer mobilenetv2_caffe --precision "${1:-force_float32}" --shape-mutable "${2:-false}" --batch-size "${3:-1}" "${@:4}"
