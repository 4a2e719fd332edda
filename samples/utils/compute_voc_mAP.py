"""Pascal VOC's mAP of boxes: the command line that the samples' READMEs name; `magicmind zoo eval` does the same and more."""

import sys

from magicmind.evaluation.voc import main

sys.exit(main())
