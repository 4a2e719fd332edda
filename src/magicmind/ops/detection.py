"""Our own operators (domain `magicmind`) that end detectors; they are host steps, their rows depend on the data.

    SsdDetectionOutput(boxes, scores, priors, object_scores?, object_boxes?) -> [rows, 7]      SSD and RefineDet
    YoloDetectionOutput(map, ...) -> [rows, 7]                                                 raw maps of YOLOv2 and v3
    Proposal(scores, changes, image) -> regions [R, 5], scores [R, 1]                          Faster R-CNN
    PSRoiPool(x, regions) -> [R, output_dim, group_size, group_size]                           R-FCN

A row of 7 is (image, label, score, left, top, right, bottom), corners relative to the image, images in order.
"""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ShapeError
from magicmind.ir.types import TensorType
from magicmind.ops.fused import DOMAIN
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank

_FLOAT = onnx_ir.DataType.FLOAT

ssd_detection_output = Op("SsdDetectionOutput", DOMAIN).host()
yolo_detection_output = Op("YoloDetectionOutput", DOMAIN).host()
proposal = Op("Proposal", DOMAIN).host()
ps_roi_pool = Op("PSRoiPool", DOMAIN).host()


@ssd_detection_output.infer
def infer_ssd(node: NodeView) -> list[TensorType]:
    """boxes [N, P * 4 (* classes)], scores [N, P * classes], priors [1, 2, P * 4]."""
    boxes, scores, priors = (node.input(i) for i in range(3))
    need_rank(priors, 3, 3, "the priors")
    need_rank(boxes, 2, what="the boxes")
    classes, count = node.attr("num_classes", 1), priors.dims[2]
    if not isinstance(count, int) or count % 4:
        raise ShapeError(f"the priors have {count} numbers; four for each are needed")
    _need_row(boxes, count * (1 if node.attr("share_location", 1) else classes), "the boxes")
    _need_row(scores, count // 4 * classes, "the scores")
    return [TensorType(_FLOAT, (node.unknown(0), 7))]


def _need_row(t: TensorType, count: int, what: str) -> None:
    row = TensorType(t.dtype, t.dims[1:]).size
    if isinstance(row, int) and row != count:
        raise ShapeError(f"{what} have {row} numbers an image; {count} follow from the priors and classes")


@yolo_detection_output.infer
def infer_yolo(node: NodeView) -> list[TensorType]:
    """Maps [N, boxes * (5 + classes), H, W]."""
    for t in node.inputs:
        need_rank(t, 4, 4, "a map")
    return [TensorType(_FLOAT, (node.unknown(0), 7))]


@proposal.infer
def infer_proposal(node: NodeView) -> list[TensorType]:
    """scores [1, 2 * A, H, W] (what is no object, then what is), changes [1, 4 * A, H, W], image [1, 3]."""
    scores, changes = (need_rank(node.input(i), 4, 4) for i in range(2))
    anchors = len(node.attr("anchors", [])) // 4
    if scores.dims[1] != 2 * anchors or changes.dims[1] != 4 * anchors:
        raise ShapeError(f"{scores.dims[1]} scores and {changes.dims[1]} changes a cell do not fit {anchors} anchors")
    if scores.dims[0] != 1:
        raise ShapeError(f"proposals are made for one image; the batch is {scores.dims[0]}")
    rows = node.unknown(0)
    return [TensorType(_FLOAT, (rows, 5)), TensorType(_FLOAT, (rows, 1))][: node.num_outputs]


@ps_roi_pool.infer
def infer_ps_roi_pool(node: NodeView) -> list[TensorType]:
    """x [N, output_dim * group_size^2, H, W], regions [R, 5]."""
    x, regions = need_rank(node.input(0), 4, 4), need_rank(node.input(1), 2, 2, what="the regions")
    size, depth = node.attr("group_size", 1), node.attr("output_dim", 1)
    if x.dims[1] != depth * size * size:
        raise ShapeError(f"{x.dims[1]} channels do not fit {depth} results of {size} x {size} cells")
    return [TensorType(x.dtype, (regions.dims[0], depth, size, size))]
