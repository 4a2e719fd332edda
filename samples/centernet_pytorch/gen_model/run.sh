#!/usr/bin/env bash
# run.sh <precision> <shape_mutable> <batch_size>, as in: run.sh qint8_mixed_float16 true 1 0.001 0.65 1000
# Three more arguments of an older detector (confidence, NMS, boxes) are accepted and have no effect.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
words "$@"
magicmind zoo build centernet_pytorch --precision "${word[0]:-qint8_mixed_float16}" --shape-mutable "${word[1]:-true}" --batch-size "${word[2]:-1}" "${option[@]}"
