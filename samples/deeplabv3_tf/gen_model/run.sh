#!/usr/bin/env bash
# run.sh <precision> <shape_mutable>, as in: run.sh force_float32 true
# A batch of 1 may follow, as in the other samples; the network has no other.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
words "$@"
magicmind zoo build deeplabv3_tf --precision "${word[0]:-force_float32}" --shape-mutable "${word[1]:-true}" --batch-size "${word[2]:-1}" "${option[@]}"
