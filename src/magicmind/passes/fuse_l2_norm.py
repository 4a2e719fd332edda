"""L2 normalisation, x over the root of the sum of its squares along an axis, becomes magicmind.L2Normalization.

PyTorch's exporters write ReduceL2, Clip, Expand, Div (the Expand goes before: drop_expand), TensorFlow's a sum of
squares, Max, Sqrt, and a quotient or a product with a reciprocal. A small number added to the norm is another function
and stays as it is.
"""

from __future__ import annotations

import math

import onnx_ir

from magicmind.ir.types import const_of, shape_of
from magicmind.passes.edit import DOMAIN, AttributeValue, attribute
from magicmind.passes.pattern import FusePattern, Match, Pattern, any_value, number, op

X = any_value("x")


def _at_least(value: Pattern, name: str) -> Pattern:
    return op("Clip", value, number(name)) | op("Max", value, number(name)) | value


def _over(value: Pattern) -> Pattern:
    return op("Div", X, value) | op("Mul", X, op("Reciprocal", value) | op("Div", 1.0, value))


_SQUARES = op("ReduceSumSquare", X) | op("ReduceSum", op("Mul", X, X) | op("Pow", X, 2.0))
_NORM = op("ReduceL2", X) | op("Sqrt", _at_least(_SQUARES, "floor of squares"))
_REDUCTIONS = ("ReduceL2", "ReduceSumSquare", "ReduceSum")


class FuseL2Norm(FusePattern):
    """x / max(sqrt(sum of x^2), floor) along one axis becomes magicmind.L2Normalization."""

    roots = frozenset(_REDUCTIONS)
    pattern = _over(_at_least(_NORM, "floor"))
    picture = "x / max(norm of x, floor)"
    becomes = "L2Normalization"
    domain = DOMAIN

    def misfit(self, found: Match, last: onnx_ir.Node) -> str:
        if _axis(found) is None:
            return "the norm is not along one known axis, with the axis kept"
        if any(n.op_type == "Clip" and len(n.inputs) > 2 and n.inputs[2] is not None for n in found.nodes):
            return "the norm is bounded from above too"
        if len(found.numbers) > 1 or min(found.numbers.values(), default=0.0) < 0:
            return "the norm has two floors, or one below zero"
        return super().misfit(found, last)

    def attributes(self, found: Match) -> dict[str, AttributeValue]:
        axis = _axis(found)
        assert axis is not None
        floor = found.numbers.get("floor", math.sqrt(found.numbers.get("floor of squares", 0.0)))
        return {"axis": axis, "floor": floor}


def _axis(found: Match) -> int | None:
    """The axis reduced, from the front."""
    reduction = next(n for n in found.nodes if n.op_type in _REDUCTIONS)
    axes = const_of(reduction.inputs[1]) if len(reduction.inputs) > 1 else None
    shape = shape_of(found.values["x"])
    if axes is None or axes.size != 1 or shape is None or not attribute(reduction, "keepdims", 1):
        return None
    return int(axes.reshape(-1)[0]) % len(shape)
