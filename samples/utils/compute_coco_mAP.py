"""COCO's mAP of boxes: the command line that the samples' READMEs name; `magicmind zoo eval` does the same and more."""

import sys

from magicmind.evaluation.coco import main
from magicmind.evaluation.files import program

sys.exit(program(main))
