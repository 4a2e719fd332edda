#!/usr/bin/env bash
# run.sh <precision> <shape_mutable>, as in: run.sh force_float32 true
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo build deeplabv3_tf --precision "${1:-force_float32}" --shape-mutable "${2:-true}" "${@:3}"
