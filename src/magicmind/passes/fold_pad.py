"""Folds a Pad in front of a convolution or a pooling into its `pads`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir

from magicmind.ir.types import const_of, shape_of
from magicmind.passes.edit import attribute, is_op, replace_node
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.resolve_auto_pad import kernel_shape

_NOT_NEGATIVE = ("Relu", "Sigmoid", "Abs", "Softmax", "HardSigmoid", "Softplus", "Sqrt", "Exp")


@dataclass(frozen=True)
class Padding:
    """A Pad over the spatial axes: `begin` and `end` per axis, and the number it writes."""

    node: onnx_ir.Node
    begin: list[int]
    end: list[int]
    value: float


class FoldPad(Rewrite[Padding]):
    """Conv(Pad(x)) becomes Conv with pads, likewise pooling where the padding means the same there."""

    roots = frozenset({"Conv", "AveragePool", "LpPool", "MaxPool"})

    def match(self, node: onnx_ir.Node) -> Padding | Decline:
        source = node.inputs[0]
        pad = source.producer() if source is not None else None
        if pad is None or not is_op(pad, "Pad"):
            return Decline("the input is no Pad")
        padding = _read(pad)
        if isinstance(padding, Decline):
            return padding
        if attribute(node, "auto_pad", "NOTSET") != "NOTSET":
            return Decline("auto_pad is not resolved")
        reason = _RULES[node.op_type](node, padding)
        return Decline(reason) if reason else padding

    def rewrite(self, node: onnx_ir.Node, found: Padding) -> None:
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        attributes["pads"] = [a + b for a, b in zip(_pads(node, found), found.begin + found.end, strict=True)]
        if node.op_type == "AveragePool":
            attributes["count_include_pad"] = 1  # the zeros of the Pad counted as elements
        fused = [found.node] if len(found.node.outputs[0].uses()) == 1 else []
        replace_node(node, node.op_type, [found.node.inputs[0], *node.inputs[1:]], attributes, fused=fused)


def _read(pad: onnx_ir.Node) -> Padding | Decline:
    if attribute(pad, "mode", "constant") != "constant":
        return Decline("the Pad does not write a constant")
    source, amounts = pad.inputs[0], const_of(pad.inputs[1])
    shape = shape_of(source) if source is not None else None
    if amounts is None or shape is None:
        return Decline("the amounts of padding are not known")
    rank = len(shape)
    begin, end = np.zeros(rank, np.int64), np.zeros(rank, np.int64)
    axes = const_of(pad.inputs[3]) if len(pad.inputs) > 3 else None
    where = np.arange(rank) if axes is None else axes % rank
    begin[where], end[where] = np.split(amounts, 2)
    if begin[:2].any() or end[:2].any():
        return Decline("the Pad changes batch or channels")
    if (begin < 0).any() or (end < 0).any():
        return Decline("the Pad crops")
    given = pad.inputs[2] if len(pad.inputs) > 2 else None
    value = np.zeros(()) if given is None else const_of(given)
    if value is None:
        return Decline("the padding value is not known")
    return Padding(pad, begin[2:].tolist(), end[2:].tolist(), float(value.reshape(())))


def _pads(node: onnx_ir.Node, padding: Padding) -> list[int]:
    return list(attribute(node, "pads", (0,) * (2 * len(padding.begin))))


def _zeros(node: onnx_ir.Node, padding: Padding) -> str:
    return "" if padding.value == 0 else "the padding is not zero"


def _average_pool(node: onnx_ir.Node, padding: Padding) -> str:
    if padding.value != 0:
        return "the padding is not zero"
    if attribute(node, "ceil_mode", 0):
        return "ceil_mode: windows over the edge count other elements"
    if any(_pads(node, padding)) and not attribute(node, "count_include_pad", 0):
        return "the pooling's own padding is not counted, the Pad's is"
    return ""


def _max_pool(node: onnx_ir.Node, padding: Padding) -> str:
    kernel = kernel_shape(node)
    pads = _pads(node, padding)
    total = [a + b for a, b in zip(pads, padding.begin + padding.end, strict=True)]
    if kernel is None or any(t >= k for t, k in zip(total, kernel * 2, strict=True)):
        return "a window may lie in the padding alone"
    if len(node.outputs) > 1:
        return "indices count the padded tensor"
    if attribute(node, "ceil_mode", 0):
        return "ceil_mode: a window may lie in the padding alone"
    if padding.value == -math.inf:
        return ""
    source = padding.node.inputs[0]
    if padding.value == 0 and source is not None and is_op(source.producer(), *_NOT_NEGATIVE):
        return ""  # no element is below the padding, so it never wins against one
    return "the padding could be the maximum"


_RULES = {"Conv": _zeros, "LpPool": _zeros, "AveragePool": _average_pool, "MaxPool": _max_pool}
