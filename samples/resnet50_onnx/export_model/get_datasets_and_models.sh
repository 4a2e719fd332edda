#!/usr/bin/env bash
# The same as run.sh, which also says where the data set comes from.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo export resnet50_onnx "$@"
