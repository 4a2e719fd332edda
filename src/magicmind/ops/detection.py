"""Our own operators (domain `magicmind`) that end detectors; they are host steps, their rows depend on the data.

    DetectionOutput(bias, feature, ...) -> tables [N, limit, 7], counts [N]                    MagicMind's graph API
    SsdDetectionOutput(boxes, scores, priors, object_scores?, object_boxes?) -> [rows, 7]      SSD and RefineDet
    YoloDetectionOutput(map, ...) -> [rows, 7]                                                 Caffe's YOLOv2 and v3
    Proposal(scores, changes, image) -> regions [R, 5], scores [R, 1]                          Faster R-CNN
    PSRoiPool(x, regions) -> [R, output_dim, group_size, group_size]                           R-FCN

A row of 7 is (image, label, score, left, top, right, bottom), corners relative to the image, images in order.
"""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import Dim
from magicmind.ir.types import TensorType
from magicmind.ops.fused import DOMAIN
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank, same_dim

_FLOAT = onnx_ir.DataType.FLOAT

detection_output = Op("DetectionOutput", DOMAIN).host()
ssd_detection_output = Op("SsdDetectionOutput", DOMAIN).host()
yolo_detection_output = Op("YoloDetectionOutput", DOMAIN).host()
proposal = Op("Proposal", DOMAIN).host()
ps_roi_pool = Op("PSRoiPool", DOMAIN).host()


@ssd_detection_output.infer
def infer_ssd(node: NodeView) -> list[TensorType]:
    """boxes [N, P * 4 (* classes)], scores [N, P * classes], priors [1, 2, P * 4]."""
    boxes, scores, priors = (node.input(i) for i in range(3))
    _need_priors(node, boxes, scores, priors, node.attr("num_classes", 1))
    return [TensorType(_FLOAT, (node.unknown(0), 7))]


def _need_priors(node: NodeView, boxes: TensorType, scores: TensorType, priors: TensorType, classes: int) -> None:
    """Raises ShapeError for predictions that do not fit the priors."""
    need_rank(priors, 3, 3, "the priors")
    need_rank(boxes, 2, what="the boxes")
    count = priors.dims[2]
    if not isinstance(count, int) or count % 4:
        raise ShapeError(f"the priors have {count} numbers; four for each are needed")
    _need_row(boxes, count * (1 if node.attr("share_location", 1) else classes), "the boxes")
    _need_row(scores, count // 4 * classes, "the scores")


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


# ----------------------------------------------------------------------------------------------- MagicMind's own form

_YOLO = ("YOLOV2", "YOLOV3", "YOLOV4", "YOLOV5")
_FEATURES = {"SSD": (2, 2), "REFINEDET": (4, 4), "FASTERRCNN": (2, 3)}


@detection_output.infer
def infer_detection_output(node: NodeView) -> list[TensorType]:
    """Tables float32 [N, num_box_limit, 7] of the rows of every image, best first; int32 [N], how many there are.

    The attributes are the setters of MagicMind's node without `set_`, enums by their names:
      algo: YOLOV2 YOLOV3 YOLOV4 YOLOV5 SSD REFINEDET FASTERRCNN
      confidence_thresh, nms_thresh: floats; a score counts when above, a box is dropped when it overlaps more
      num_class, num_box_limit: ints; all of these are needed
      num_anchor, image_shape [height, width]: needed by YOLO (image_shape not by YOLOV2)
      num_coord 4, num_entry 5, scale 1.0, layout [NONE, NONE]: other values have no public semantics
      aspect_ratios: scale_x_y of YOLOV3 and YOLOV4, one for each map or one for all
      nms_type: IOU_NMS or DIOU_NMS, the latter with diou_power_exp (1.0)
    Inputs: YOLO: anchors (width, height) for each map, maps [N, H, W, num_anchor * (5 + num_class)]. SSD and REFINEDET:
    priors [1, 2, P * 4]; boxes, scores, and for REFINEDET the scores and boxes that refine the priors; with the
    attributes code_type, variance_encoded, share_location, background, objectness of SsdDetectionOutput, code_type
    being CENTER_SIZE. FASTERRCNN: regions [R, 5]; scores [R, num_class], changes [R, 4 * num_class] or [R, 8], and
    sizes [N, 2..] (height, width) of the images, without which there is one of image_shape.
    Corners are relative to the network's input; those of YOLOV5 and FASTERRCNN are pixels of it.
    """
    algo = _needed(node, "algo")
    for name in ("confidence_thresh", "nms_thresh", "num_class", "num_box_limit"):
        _needed(node, name)
    _refuse_unknown(node)
    if algo in _YOLO:
        batch = _infer_maps(node, algo)
    elif algo in _FEATURES:
        batch = _infer_features(node, algo)
    else:
        raise UnsupportedOperatorError(f"algo {algo!r}; known are {', '.join((*_YOLO, *_FEATURES))}")
    limit = node.attr("num_box_limit", 0)
    if limit < 0:
        raise ModelFormatError(f"num_box_limit is {limit}")
    return [TensorType(_FLOAT, (batch, limit, 7)), TensorType(onnx_ir.DataType.INT32, (batch,))]


def _needed(node: NodeView, name: str) -> str:
    """The text of an attribute.  Raises ModelFormatError when it is missing."""
    found = node.attr(name)
    if found is None:
        raise ModelFormatError(f"{name} of the detection output is not set")
    return str(found)


def _refuse_unknown(node: NodeView) -> None:
    """Raises UnsupportedOperatorError for settings that no public program gives a meaning."""
    known: dict[str, tuple[object, ...]] = {
        "num_coord": (4,), "num_entry": (5,), "scale": (1.0,), "nms_type": ("IOU_NMS", "DIOU_NMS"),
    }  # fmt: skip
    for name, values in known.items():
        if node.attr(name, values[0]) not in values:
            raise UnsupportedOperatorError(f"{name} is {node.attr(name)!r}; known is {' or '.join(map(str, values))}")
    if any(layout not in ("NONE", "ARRAY", "NHWC") for layout in node.attr("layout") or ()):
        raise UnsupportedOperatorError(f"layout {node.attr('layout')}; maps are NHWC, which NONE stands for")
    if node.attr("algo") not in ("YOLOV3", "YOLOV4") and any(r != 1.0 for r in node.attr("aspect_ratios") or ()):
        raise UnsupportedOperatorError(f"aspect_ratios have no meaning for {node.attr('algo')}")


def _infer_maps(node: NodeView, algo: str) -> Dim:
    """The batch of YOLO's maps."""
    maps, boxes, classes = node.inputs[1:], int(_needed(node, "num_anchor")), node.attr("num_class", 1)
    if not maps:
        raise ModelFormatError("there are no maps")
    for t in maps:
        need_rank(t, 4, 4, "a map")
        if t.dims[3] != boxes * (5 + classes):
            raise ShapeError(f"a map {t} is not [N, H, W, {boxes} * (5 + {classes})]")
        same_dim(maps[0].dims[0], t.dims[0], "the maps' batches")
    if node.input(0).size != len(maps) * boxes * 2:
        raise ShapeError(f"{node.input(0).size} numbers of anchors for {boxes} in each of {len(maps)} maps")
    if len(node.attr("aspect_ratios") or ()) not in (0, 1, len(maps)):
        raise ShapeError(f"{len(node.attr('aspect_ratios'))} aspect_ratios for {len(maps)} maps")
    if algo != "YOLOV2" and len(node.ints_attr("image_shape") or ()) != 2:
        raise ModelFormatError(f"image_shape (height, width) is not set; {algo} needs it")
    return maps[0].dims[0]


def _infer_features(node: NodeView, algo: str) -> Dim:
    """The batch of detectors that predict about priors or regions."""
    bias, *features = node.inputs
    low, high = _FEATURES[algo]
    if not low <= len(features) <= high:
        raise ModelFormatError(f"{len(features)} features; {algo} takes {low if low == high else f'{low} or {high}'}")
    if algo != "FASTERRCNN":
        _need_priors(node, features[0], features[1], bias, node.attr("num_class", 1))
        return features[0].dims[0]
    classes, rows = node.attr("num_class", 1), need_rank(bias, 2, 2, "the regions").dims[0]
    scores = need_rank(features[0], 2, what="the scores")
    same_dim(rows, scores.dims[0], "regions and scores")
    same_dim(rows, features[1].dims[0], "regions and changes")
    for t, wanted in ((bias, (5,)), (scores, (classes,)), (features[1], (4, 4 * classes, 8))):
        if TensorType(t.dtype, t.dims[1:]).size not in wanted:
            raise ShapeError(f"{t} has rows of {' or '.join(map(str, wanted))} numbers for {classes} classes")
    if len(features) == 3:
        return need_rank(features[2], 2, 2, "the sizes").dims[0]
    if len(node.ints_attr("image_shape") or ()) != 2:
        raise ModelFormatError("neither image_shape (height, width) nor the sizes of the images are given")
    return 1


# -------------------------------------------------------------------------------------------------------------- R-CNN


@proposal.infer
def infer_proposal(node: NodeView) -> list[TensorType]:
    """scores [N, 2 * A, H, W] (what is no object, then what is), changes [N, 4 * A, H, W], image [N or 1, 3].

    A row of `image` is (height, width, zoom). Of every image the best come first; a region is (image, corners).
    """
    scores, changes = (need_rank(node.input(i), 4, 4) for i in range(2))
    anchors = len(node.attr("anchors", [])) // 4
    if scores.dims[1] != 2 * anchors or changes.dims[1] != 4 * anchors:
        raise ShapeError(f"{scores.dims[1]} scores and {changes.dims[1]} changes a cell do not fit {anchors} anchors")
    same_dim(scores.dims[0], changes.dims[0], "scores and changes")
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
