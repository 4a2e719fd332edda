"""Folds multiplication, division, addition and subtraction by constants into a convolution or matrix product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir

from magicmind.ir.types import const_of
from magicmind.passes.affine import Array, Linear, channel_axis, fold_affine, linear_of, per_channel, rank_of
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
        scale, offset = affine_of(node.op_type, numbers, swapped)
        return After(linear, scale, offset)

    def rewrite(self, node: onnx_ir.Node, found: After) -> None:
        fold_affine(node, found.linear, found.scale, found.offset)


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


def affine_of(op_type: str, constant: Array, swapped: bool) -> tuple[Array, Array | None]:
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
