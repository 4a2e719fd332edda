"""Pascal VOC's mAP of boxes, by the command line of the samples' READMEs; `magicmind zoo eval` does more."""

import sys

from magicmind.evaluation.files import program
from magicmind.evaluation.voc import main

sys.exit(program(main))
