"""Suppression of overlapping boxes."""

from __future__ import annotations

import numpy as np
import onnx_ir

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.ops.emitter import Value

_INT32, _FLOAT = onnx_ir.DataType.INT32, onnx_ir.DataType.FLOAT


@importer("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4",
    "NonMaxSuppressionV5", host=True)  # fmt: skip
def non_max_suppression(c: Call) -> list[Value]:
    """NonMaxSuppression of one class: the indices of the boxes that are kept, best first."""
    net, op = c.net, c.node.op
    boxes, scores, most = net.unsqueeze(c.x, 0), net.unsqueeze(c.value(1), 0, 1), c.int64(c.value(2))
    old = op == "NonMaxSuppression"
    overlap = net.const(float(c.attr("iou_threshold", 0.5)), np.float32) if old else c.value(3)
    if op == "NonMaxSuppressionV5" and (c.known(c.value(5)) is None or c.const(5, "soft_nms_sigma").any()):
        raise c.unsupported("soft suppression (soft_nms_sigma > 0)")
    limits = [net.reshape(most, 1), net.reshape(overlap, 1)]
    if op[-2:] in ("V3", "V4", "V5"):
        limits.append(net.reshape(c.value(4), 1))
    rows = net.op("NonMaxSuppression", boxes, scores, *limits)
    found = net.op("Gather", rows, net.const(2, np.int64), axis=1)
    indices = net.cast(found, _INT32)
    if op in ("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3"):
        return [indices]
    count = net.cast(net.reshape(net.dim(found, 0)), _INT32)
    kept = net.op("Gather", c.value(1), found, axis=0)
    if c.attr("pad_to_max_output_size", False):
        missing = net.op("Sub", limits[0], net.dim(found, 0))
        pads = net.op("Concat", net.ints(0), missing, axis=0)
        indices, kept = (net.op("Pad", v, pads, net.scalar(0, v)) for v in (indices, kept))
    return [indices, count] if op == "NonMaxSuppressionV4" else [indices, kept, count]


@importer("CombinedNonMaxSuppression", host=True)
def combined_non_max_suppression(c: Call) -> list[Value]:
    """NonMaxSuppression of every class of every image, then the best of all classes by TopK.

    boxes [N, n, 1 or classes, 4], scores [N, n, classes] -> boxes [N, most, 4], scores, classes, how many are valid.
    """
    net, boxes, scores = c.net, c.x, c.value(1)
    count, classes = (c.fixed(c.shape(1)[i], "the number of boxes and classes") for i in (1, 2))
    per_class, most = c.number(2, "max_output_size_per_class"), c.number(3, "max_total_size")
    if c.attr("pad_per_class", False):
        most = min(most, per_class * classes)
    kept = _kept_scores(c, boxes, scores, count, classes, per_class)  # [N, classes * n]
    lowest = net.scalar(float(np.finfo(np.float32).min), scores)
    if count * classes < most:
        kept = net.op("Pad", kept, net.ints(0, 0, 0, most - count * classes), lowest)
    best, where = net.ops("TopK", kept, net.ints(most), count=2, axis=1, sorted=1)
    valid = net.op("Greater", best, lowest)
    zero, number = net.const(0, np.int64), net.const(count, np.int64)
    safe = net.op("Where", valid, where, zero)
    chosen = net.op("Div", safe, number)
    found = _boxes_at(c, boxes, net.op("Mod", safe, number), chosen)
    if c.attr("clip_boxes", True):
        found = net.op("Clip", found, net.scalar(0, found), net.scalar(1, found))
    return [
        net.op("Where", net.unsqueeze(valid, 2), found, net.scalar(0, found)),
        net.op("Where", valid, best, net.scalar(0, best)),
        net.op("Where", valid, net.cast_like(chosen, best), net.scalar(0, best)),
        net.op("ReduceSum", net.cast(valid, _INT32), net.ints(1), keepdims=0),
    ]


def _kept_scores(c: Call, boxes: Value, scores: Value, count: int, classes: int, per_class: int) -> Value:
    """[N, classes * n]: the scores of what is kept, the lowest number for the rest."""
    net = c.net
    by_class = net.op("Transpose", scores, perm=[0, 2, 1])
    if c.shape()[2] == 1:
        flat = net.squeeze(boxes, 2)
    else:  # every class of every image is an image of its own
        flat = net.reshape(net.op("Transpose", boxes, perm=[0, 2, 1, 3]), -1, count, 4)
        by_class = net.reshape(by_class, -1, 1, count)
    limits = [net.ints(per_class), *(net.reshape(net.cast(c.value(i), _FLOAT), 1) for i in (4, 5))]
    rows = net.op("NonMaxSuppression", flat, by_class, *limits)
    lowest = onnx_ir.Tensor(np.full(1, np.finfo(np.float32).min, np.float32))
    empty = net.op("ConstantOfShape", net.op("Shape", by_class), value=lowest)
    kept = net.op("ScatterND", empty, rows, net.op("GatherND", by_class, rows))
    return net.reshape(kept, -1, classes * count)


def _boxes_at(c: Call, boxes: Value, place: Value, chosen: Value) -> Value:
    """[N, most, 4]: the boxes of these places, for these classes where each has its own."""
    net, count, own = c.net, *c.shape()[1:3]
    if own == 1:
        flat = net.squeeze(boxes, 2)
    else:
        classes = c.fixed(own, "the number of classes")
        place = net.op("Add", net.op("Mul", place, net.const(classes, np.int64)), chosen)
        flat = net.reshape(boxes, -1, c.fixed(count, "the number of boxes") * classes, 4)
    return net.op("GatherND", flat, net.unsqueeze(place, 2), batch_dims=1)
