"""GELU as exporters spell it, x / 2 * (1 + erf(x / sqrt 2)) in any order of its products, becomes one operator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir

from magicmind.ir.types import const_of
from magicmind.passes.edit import is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite

_TOLERANCE = 1e-5  # constants were rounded to float32 or float16, or written with few digits


@dataclass(frozen=True)
class _Gelu:
    """The argument, the node whose result is the GELU, and the nodes it covers."""

    x: onnx_ir.Value
    last: onnx_ir.Node
    covered: tuple[onnx_ir.Node, ...]


class FuseGelu(Rewrite[_Gelu]):
    """x / 2 * (1 + erf(x / sqrt 2)) becomes Gelu."""

    roots = frozenset({"Erf"})

    def match(self, node: onnx_ir.Node) -> _Gelu | Decline:
        found = _argument(node)
        if found is None:
            return Decline("the argument is not divided by the square root of two")
        x, scaling = found
        plus = only_user(node.outputs[0])
        if plus is None or not is_op(plus, "Add") or _other(plus, node.outputs[0], 1.0) is None:
            return Decline("one is not added to the result alone")
        return self._products(x, (scaling, node, plus))

    def _products(self, x: onnx_ir.Value, covered: tuple[onnx_ir.Node, ...]) -> _Gelu | Decline:
        """What follows 1 + erf: a product with x and one with a half, or one with the half of x."""
        value = covered[-1].outputs[0]
        first = only_user(value)
        if first is None or not is_op(first, "Mul"):
            return Decline("1 + erf is not multiplied alone")
        other = first.inputs[0] if first.inputs[1] is value else first.inputs[1]
        if other is not None and _half_of(other) is x:
            half = other.producer()
            assert half is not None
            return _Gelu(x, first, (*covered, half))
        wanted = 0.5 if other is x else x if _is_number(other, 0.5) else None
        last = only_user(first.outputs[0])
        if wanted is None or last is None or not is_op(last, "Mul"):
            return Decline("the products with the argument and a half are not there")
        rest = last.inputs[0] if last.inputs[1] is first.outputs[0] else last.inputs[1]
        if rest is x if wanted is x else _is_number(rest, 0.5):
            return _Gelu(x, last, (*covered, first))
        return Decline("the products with the argument and a half are not there")

    def rewrite(self, node: onnx_ir.Node, found: _Gelu) -> None:
        replace_node(found.last, "Gelu", [found.x], {"approximate": "none"}, fused=found.covered)


def _is_number(value: onnx_ir.Value | None, number: float) -> bool:
    """Whether a value is this constant, one element of rank 0 or 1."""
    constant = None if value is None else const_of(value)
    if constant is None or constant.size != 1 or constant.ndim > 1:
        return False
    return abs(float(constant.reshape(())) - number) <= _TOLERANCE * abs(number)


def _other(node: onnx_ir.Node, value: onnx_ir.Value, number: float) -> onnx_ir.Value | None:
    """The operand beside `value`, when it is the constant `number`."""
    a, b = node.inputs
    rest = a if b is value else b
    return rest if _is_number(rest, number) else None


def _argument(erf: onnx_ir.Node) -> tuple[onnx_ir.Value, onnx_ir.Node] | None:
    """x, and the node that divides it by the root of two."""
    value = erf.inputs[0]
    scaling = value.producer() if value is not None else None
    if scaling is None or not is_op(scaling, "Div", "Mul"):
        return None
    a, b = scaling.inputs
    if is_op(scaling, "Div"):
        return (a, scaling) if a is not None and _is_number(b, math.sqrt(2.0)) else None
    for x, factor in ((a, b), (b, a)):
        if x is not None and _is_number(factor, math.sqrt(0.5)):
            return x, scaling
    return None


def _half_of(value: onnx_ir.Value) -> onnx_ir.Value | None:
    """x, where `value` is x / 2."""
    node = value.producer()
    if node is None or not is_op(node, "Mul", "Div"):
        return None
    a, b = node.inputs
    if is_op(node, "Div"):
        return a if _is_number(b, 2.0) else None
    return a if _is_number(b, 0.5) else b if _is_number(a, 0.5) else None
