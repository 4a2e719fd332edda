"""Top-1 and top-5: the command line that the samples' READMEs name; `magicmind zoo eval` does the same and more."""

import sys

from magicmind.evaluation.classification import main
from magicmind.evaluation.files import program

sys.exit(program(main))
