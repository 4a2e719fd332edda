"""Convolutions that the blocked kernels do not take become magicmind.PlainConv."""

from __future__ import annotations

import onnx_ir

from magicmind.ir.types import const_of, dtype_of, shape_of
from magicmind.passes.edit import DOMAIN, attribute, replace_node
from magicmind.passes.infra import Decline, Rewrite

BLOCKED_AXES = 2
"""Spatial axes that the blocked kernels have."""


def needs_plain(node: onnx_ir.Node) -> bool:
    """Whether a Conv has run-time weights, three spatial axes, unresolved padding or a dtype other than float32."""
    x, w = node.inputs[0], node.inputs[1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    shape = shape_of(w) if w is not None else None
    return (
        const_of(w) is None
        or (bias is not None and const_of(bias) is None)
        or (x is not None and dtype_of(x) != onnx_ir.DataType.FLOAT)
        or (shape is not None and len(shape) - 2 > BLOCKED_AXES)
        or attribute(node, "auto_pad", "NOTSET") != "NOTSET"
    )


class ToPlainConv(Rewrite[bool]):
    """Conv and ConvTranspose with run-time weights, three axes, float64, ... become magicmind.PlainConv."""

    roots = frozenset({"Conv", "ConvTranspose"})

    def match(self, node: onnx_ir.Node) -> bool | Decline:
        transposed = node.op_type == "ConvTranspose"
        if not transposed and not needs_plain(node):
            return Decline("the blocked kernels take it")
        x = node.inputs[0]
        if x is not None and dtype_of(x) not in (onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE):
            return Decline("the dtype is not float32 or float64")
        return transposed

    def rewrite(self, node: onnx_ir.Node, found: bool) -> None:
        attributes = {name: attr.value for name, attr in node.attributes.items() if name != "exact"}
        replace_node(node, "PlainConv", node.inputs, attributes | {"transposed": int(found)}, domain=DOMAIN)
