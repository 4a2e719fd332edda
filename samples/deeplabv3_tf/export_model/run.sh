#!/usr/bin/env bash
# Gets the network's files; options of `magicmind zoo export` may follow.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../env.sh" > /dev/null
magicmind zoo export deeplabv3_tf "$@"
