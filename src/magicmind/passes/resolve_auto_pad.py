"""Replaces `auto_pad` by explicit `pads`."""

from __future__ import annotations

import onnx_ir

from magicmind.ir import dims
from magicmind.ir.types import shape_of
from magicmind.passes.edit import attribute, replace_node
from magicmind.passes.infra import Decline, Rewrite


class ResolveAutoPad(Rewrite[list[int]]):
    """Conv and pooling with auto_pad get pads; ONNX operator specification of Conv, attribute auto_pad."""

    roots = frozenset({"Conv", "MaxPool", "AveragePool", "LpPool"})

    def match(self, node: onnx_ir.Node) -> list[int] | Decline:
        mode = attribute(node, "auto_pad", "NOTSET")
        if mode == "NOTSET":
            return Decline("pads are explicit")
        kernel = kernel_shape(node)
        shape = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
        if kernel is None:
            return Decline("the kernel's size is not known")
        if mode == "VALID":
            return [0] * (2 * len(kernel))
        if shape is None:
            return Decline("the input's shape is not known")
        strides = attribute(node, "strides", (1,) * len(kernel))
        dilations = attribute(node, "dilations", (1,) * len(kernel))
        totals = [
            _same_padding(size, (k - 1) * dilation + 1, stride)
            for size, k, dilation, stride in zip(shape[2:], kernel, dilations, strides, strict=True)
        ]
        known = [total for total in totals if total is not None]
        if len(known) < len(totals):
            return Decline("the padding depends on a size known at run time only")
        return _split(known, mode)

    def rewrite(self, node: onnx_ir.Node, found: list[int]) -> None:
        attributes = {name: attr.value for name, attr in node.attributes.items() if name != "auto_pad"}
        replace_node(node, node.op_type, node.inputs, attributes | {"pads": found})


def kernel_shape(node: onnx_ir.Node) -> tuple[int, ...] | None:
    """The attribute, or what the weights say."""
    kernel = attribute(node, "kernel_shape")
    if kernel is not None:
        return tuple(kernel)
    weights = node.inputs[1] if len(node.inputs) > 1 else None
    shape = shape_of(weights) if weights is not None else None
    if shape is None:
        return None
    sizes = [size for size in shape[2:] if isinstance(size, int)]
    return tuple(sizes) if len(sizes) == len(shape) - 2 else None


def _same_padding(size: dims.Dim, extent: int, stride: int) -> int | None:
    """Padding in both directions together such that the output has ceil(size / stride) elements."""
    if isinstance(size, int):
        return max((-(-size // stride) - 1) * stride + extent - size, 0)
    return max(extent - 1, 0) if stride == 1 else None


def _split(totals: list[int], mode: str) -> list[int]:
    smaller, larger = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return smaller + larger if mode == "SAME_UPPER" else larger + smaller
