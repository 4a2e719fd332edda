"""Suppression of overlapping boxes."""

from __future__ import annotations

import numpy as np
import onnx_ir

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.ops.emitter import Value

_INT32 = onnx_ir.DataType.INT32


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
