# source env.sh: where this sample is, and where its data set is (edit DATASETS_PATH).
export PROJ_ROOT_PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export MAGICMIND_CLOUD="$(cd "$PROJ_ROOT_PATH/.." && pwd)"
export MODEL_PATH="$PROJ_ROOT_PATH/data/models"
export DATASETS_PATH="${DATASETS_PATH:-${ILSVRC2012_DATASETS_PATH:-}}"
export UTILS_PATH="${UTILS_PATH:-$MAGICMIND_CLOUD/utils}"
export MM_RUN_PATH="${MM_RUN_PATH:-$(dirname "$(command -v mm_run || command -v magicmind || echo .)")}"
for name in PROJ_ROOT_PATH MAGICMIND_CLOUD MODEL_PATH DATASETS_PATH UTILS_PATH MM_RUN_PATH; do echo "$name=${!name}"; done
echo "Please check these; DATASETS_PATH must be the folder of the data set."
# words "$@", in the scripts: the arguments up to the first option are in `word`, the options in `option`.
words() { word=(); while (($#)) && [[ $1 != -* ]]; do word+=("$1"); shift; done; option=("$@"); }
