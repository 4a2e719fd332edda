# words "$@", in the samples' scripts: the arguments up to the first option are in `word`, the options in `option`.
words() { word=(); while (($#)) && [[ $1 != -* ]]; do word+=("$1"); shift; done; option=("$@"); }
