"""Scores of networks, in the files and on the command lines that deployment scripts know.

    python -m magicmind.evaluation.classification     top-1 and top-5           compute_top1_and_top5
    python -m magicmind.evaluation.coco               COCO's box mAP            compute_coco_mAP
    python -m magicmind.evaluation.voc                Pascal VOC's box mAP      compute_voc_mAP
    python -m magicmind.evaluation.segmentation       mean IoU of label maps    compute_voc_mIOU_eval
    python -m magicmind.evaluation.records COMMAND    tables of results and comparisons with older ones

Everything here works on files that a run has written; nothing imports the compiler.
"""
