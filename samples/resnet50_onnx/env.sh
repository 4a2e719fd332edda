# source env.sh: where this sample is, and where its data set is (edit DATASETS_PATH).
export PROJ_ROOT_PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export MODEL_PATH="$PROJ_ROOT_PATH/data/models"
export DATASETS_PATH="${DATASETS_PATH:-${ILSVRC2012_DATASETS_PATH:-}}"
export UTILS_PATH="${UTILS_PATH:-$PROJ_ROOT_PATH/../utils}"
echo "PROJ_ROOT_PATH=$PROJ_ROOT_PATH  MODEL_PATH=$MODEL_PATH"
echo "DATASETS_PATH=${DATASETS_PATH:-(not set: edit env.sh)}"
