"""Folds multiplication, division, addition and subtraction by constants into a convolution or matrix product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir

from magicmind.ir.types import const_of, shape_of
from magicmind.passes.affine import Array, Linear, channel_axis, fold_affine, linear_of, per_channel, rank_of
from magicmind.passes.edit import add_constant, attribute, graph_of, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite

ARITHMETIC = frozenset({"Mul", "Div", "Add", "Sub"})


@dataclass(frozen=True)
class After:
    """`linear * scale + offset`."""

    linear: Linear
    scale: Array
    offset: Array | None


class FoldScale(Rewrite[After]):
    """Conv(x) * c + d becomes one Conv, for constants that are one number or one per channel."""

    roots = ARITHMETIC

    def match(self, node: onnx_ir.Node) -> After | Decline:
        split = constant_operand(node)
        if isinstance(split, Decline):
            return split
        value, constant, swapped = split
        linear = linear_of(value, offset=node.op_type in ("Add", "Sub"))
        if isinstance(linear, Decline):
            return linear
        rank = rank_of(value)
        if rank is None:
            return Decline("the rank is not known")
        numbers = per_channel(constant, channel_axis(linear.node, rank), rank, linear.channels)
        if numbers is None:
            return Decline("the constant is not one per channel")
        scale, offset = _affine(node.op_type, numbers, swapped)
        return After(linear, scale, offset)

    def rewrite(self, node: onnx_ir.Node, found: After) -> None:
        fold_affine(node, found.linear, found.scale, found.offset)


class FoldScaleForward(Rewrite[tuple[onnx_ir.Node, Array, Array | None]]):
    """Conv(x * c) becomes one Conv; Conv(x + c) too where no padding is written, which the sum would miss."""

    roots = frozenset({"Conv"})

    def match(self, node: onnx_ir.Node) -> tuple[onnx_ir.Node, Array, Array | None] | Decline:
        source = node.inputs[0]
        before = source.producer() if source is not None else None
        if source is None or before is None or before.domain or before.op_type not in ARITHMETIC:
            return Decline("the input is no arithmetic")
        if only_user(source) is None:
            return Decline("the scaled value is used elsewhere")
        split = constant_operand(before)
        if isinstance(split, Decline):
            return split
        value, constant, swapped = split
        weights, rank = const_of(node.inputs[1]), rank_of(source)
        if weights is None or rank is None:
            return Decline("the weights are not constant")
        if len(node.inputs) > 2 and node.inputs[2] is not None and const_of(node.inputs[2]) is None:
            return Decline("the bias is not constant")
        if shape_of(value) != shape_of(source):
            return Decline("the constant broadcasts the input")
        numbers = per_channel(constant, 1, rank, weights.shape[1] * attribute(node, "group", 1))
        if numbers is None:
            return Decline("the constant is not one per channel")
        scale, offset = _affine(before.op_type, numbers, swapped)
        if offset is not None and _pads(node):
            return Decline("the padding would get the offset too")
        return before, scale, offset

    def rewrite(self, node: onnx_ir.Node, found: tuple[onnx_ir.Node, Array, Array | None]) -> None:
        before, scale, offset = found
        weights = const_of(node.inputs[1])
        assert weights is not None
        bias = const_of(node.inputs[2]) if len(node.inputs) > 2 else None
        group, exact = attribute(node, "group", 1), weights.astype(np.float64)
        per_group = exact.reshape(group, -1, *exact.shape[1:])
        shape = (group, 1, exact.shape[1], *[1] * (exact.ndim - 2))
        graph, inputs = graph_of(node), [constant_operand_value(before)]
        scaled = (per_group * scale.reshape(shape)).reshape(exact.shape)
        inputs.append(add_constant(graph, scaled.astype(weights.dtype), f"{node.name}.weight"))
        if offset is not None:
            extra = (per_group * offset.reshape(shape)).reshape(exact.shape[0], -1).sum(axis=1)
            bias = (extra + (0.0 if bias is None else bias)).astype(weights.dtype)
            inputs.append(add_constant(graph, bias, f"{node.name}.bias"))
        elif bias is not None:
            inputs.append(node.inputs[2])
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        replace_node(node, "Conv", inputs, attributes, fused=[before])


def constant_operand(node: onnx_ir.Node) -> tuple[onnx_ir.Value, Array, bool] | Decline:
    """The operand that is computed, the one that is constant, and whether the constant stands first."""
    left, right = node.inputs
    if left is None or right is None:
        return Decline("an operand is missing")
    a, b = const_of(left), const_of(right)
    if (a is None) == (b is None):
        return Decline("neither operand is constant")
    value, constant, swapped = (left, b, False) if b is not None else (right, a, True)
    assert constant is not None
    if not np.issubdtype(constant.dtype, np.floating):
        return Decline("the constant is no float")
    if node.op_type == "Div" and (swapped or not constant.all()):
        return Decline("the division is no multiplication by a finite constant")
    return value, constant, swapped


def constant_operand_value(node: onnx_ir.Node) -> onnx_ir.Value | None:
    """The computed operand of a node that `constant_operand` accepts."""
    return node.inputs[0] if const_of(node.inputs[1]) is not None else node.inputs[1]


def _affine(op_type: str, constant: Array, swapped: bool) -> tuple[Array, Array | None]:
    """Scale and offset of `x op constant`, or of `constant op x` when swapped."""
    one = np.ones_like(constant)
    match op_type:
        case "Mul":
            return constant, None
        case "Div":
            return one / constant, None
        case "Add":
            return one, constant
    return (-one, constant) if swapped else (one, -constant)


def _pads(node: onnx_ir.Node) -> bool:
    auto = attribute(node, "auto_pad", "NOTSET")
    return auto not in ("NOTSET", "VALID") or any(attribute(node, "pads", ()))
