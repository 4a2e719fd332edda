"""A depthwise convolution and the pointwise one that reads it become one node: the tensor between stays in cache."""

from __future__ import annotations

import math

import onnx_ir

from magicmind.ir.types import const_of, dtype_of, shape_of
from magicmind.passes.edit import DOMAIN, attribute, is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite

SMALLEST_HEIGHT = 14
"""Below it rows cannot be shared evenly between threads, and channels are shared instead: no place to fuse."""
LARGEST_WEIGHTS = 1 << 19
"""Bytes of pointwise weights that every item reads from the core's own cache."""

_WHOLE = {onnx_ir.DataType.UINT8, onnx_ir.DataType.INT16}


class FuseSeparable(Rewrite[onnx_ir.Node]):
    """Depthwise Conv, then 1x1 Conv: one magicmind.SeparableConv."""

    roots = frozenset({f"{DOMAIN}.Conv"})

    def match(self, node: onnx_ir.Node) -> onnx_ir.Node | Decline:
        if not _is_pointwise(node):
            return Decline("not a pointwise convolution with stride 1")
        x = node.inputs[0]
        before = x.producer() if x is not None else None
        if x is None or before is None or not _is_depthwise(before):
            return Decline("its input does not come from a depthwise convolution")
        if only_user(x) is not node or x.is_graph_output():
            return Decline("the depthwise result has other readers")
        if _WHOLE & {dtype_of(v) for v in (x, before.inputs[0]) if v is not None}:
            return Decline("whole numbers: every channel has its scale, and the tensor between is small")
        if len(before.inputs) > 3:
            return Decline("the depthwise epilogue reads other tensors")
        weights = const_of(node.inputs[1])
        if weights is None or weights.nbytes > LARGEST_WEIGHTS:
            return Decline("the pointwise weights are large")
        height = (shape_of(x) or (0, 0, 0))[2]
        if isinstance(height, int) and height < SMALLEST_HEIGHT:
            return Decline("the image is small")
        return before

    def rewrite(self, node: onnx_ir.Node, before: onnx_ir.Node) -> None:
        names = ("strides", "pads", "dilations")
        attributes = {name: attribute(before, name, None) for name in names}
        attributes["inner"] = attribute(before, "epilogue", None)
        attributes["epilogue"] = attribute(node, "epilogue", None)
        first = [*before.inputs, None][:3]
        second = [*node.inputs[1:], None][: max(2, len(node.inputs) - 1)]
        replace_node(node, "SeparableConv", [*first, *second], attributes, domain=DOMAIN, fused=[before])


def _is_pointwise(node: onnx_ir.Node) -> bool:
    shape = shape_of(node.inputs[1]) if node.inputs[1] is not None else None
    return (
        shape is not None
        and len(shape) == 4
        and math.prod(shape[2:]) == 1
        and attribute(node, "group", 1) == 1
        and not any(attribute(node, "pads", []))
        and all(s == 1 for s in attribute(node, "strides", []))
    )


def _is_depthwise(node: onnx_ir.Node) -> bool:
    if not is_op(node, "Conv", domain=DOMAIN):
        return False
    weights = const_of(node.inputs[1])
    group = attribute(node, "group", 1)
    return weights is not None and weights.ndim == 4 and group > 1 and weights.shape[:2] == (group, 1)
