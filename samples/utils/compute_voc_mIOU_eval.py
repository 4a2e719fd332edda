"""Mean IoU of VOC's classes: the command line that the samples' READMEs name; `magicmind zoo eval` does the same and more."""

import sys

from magicmind.evaluation.segmentation import main

sys.exit(main())
