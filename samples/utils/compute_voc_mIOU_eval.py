"""Mean IoU of VOC's classes, by the command line of the samples' READMEs; `magicmind zoo eval` does more."""

import sys

from magicmind.evaluation.files import program
from magicmind.evaluation.segmentation import main

sys.exit(program(main))
