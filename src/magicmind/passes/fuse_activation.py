"""Activations that exporters write as several operators: SiLU (Swish), Mish, hard-swish, hard-sigmoid.

Elementwise fusion makes one loop of the parts anyway. Recognised, a convolution's epilogue is one operator,
quantisation sees an activation it knows, and the saved graph reads as the network was meant. Mish is also faster: its
operator needs no logarithm.
"""

from __future__ import annotations

import numpy as np
import onnx_ir

from magicmind.passes.edit import AttributeValue, attribute
from magicmind.passes.pattern import FusePattern, Match, any_value, number, op

X = any_value("x")
_SIXTH = 1 / 6

_PLUS_3 = op("Add", X, 3.0)
_RELU6 = op("Clip", _PLUS_3, 0.0, 6.0) | op("Min", op("Relu", _PLUS_3) | op("Max", _PLUS_3, 0.0), 6.0)
_SIXTH_OF_RELU6 = op("Div", _RELU6, 6.0) | op("Mul", _RELU6, _SIXTH)
_PRODUCT = op("Mul", X, _RELU6)
_SIXTH_OF_X = op("Div", X, 6.0) | op("Mul", X, _SIXTH)
_UNIT = op("Clip", op("Add", _SIXTH_OF_X, 0.5), 0.0, 1.0)


class FuseSwish(FusePattern):
    """x * sigmoid(x) and x * sigmoid(alpha x), which is QuickGelu for 1.702, become Swish."""

    roots = frozenset({"Sigmoid"})
    pattern = op("Mul", X, op("Sigmoid", X)) | op("Mul", X, op("Sigmoid", op("Mul", X, number("alpha"))))
    picture = "x * sigmoid(alpha x)"
    becomes = "Swish"
    reach = 1

    def attributes(self, found: Match) -> dict[str, AttributeValue]:
        return {"alpha": found.numbers.get("alpha", 1.0)}


class FuseMish(FusePattern):
    """x * tanh(softplus(x)) becomes Mish."""

    roots = frozenset({"Tanh"})
    pattern = op("Mul", X, op("Tanh", op("Softplus", X) | op("Log", op("Add", op("Exp", X), 1.0))))
    picture = "x * tanh(softplus(x))"
    becomes = "Mish"
    reach = 1


class FuseHardSwish(FusePattern):
    """x * clip(x + 3, 0, 6) / 6 becomes HardSwish, likewise x * HardSigmoid(x) of slope 1/6."""

    roots = frozenset({"Clip", "Min", "HardSigmoid"})
    pattern = (
        op("Div", _PRODUCT, 6.0)
        | op("Mul", _PRODUCT, _SIXTH)
        | op("Mul", X, _SIXTH_OF_RELU6)
        | op("Mul", _SIXTH_OF_X, _RELU6)
        | op("Mul", X, _UNIT)
        | op("Mul", X, op("HardSigmoid", X))
    )
    picture = "x * clip(x + 3, 0, 6) / 6"
    becomes = "HardSwish"
    reach = 2

    def misfit(self, found: Match, last: onnx_ir.Node) -> str:
        for node in found.nodes:
            if node.op_type == "HardSigmoid" and not _is_sixth(node):
                return "the HardSigmoid is not clip(x / 6 + 1/2, 0, 1)"
        return super().misfit(found, last)


class FuseHardSigmoid(FusePattern):
    """clip(x + 3, 0, 6) / 6 and clip(alpha x + beta, 0, 1) become HardSigmoid."""

    roots = frozenset({"Clip", "Min"})
    pattern = _SIXTH_OF_RELU6 | op(
        "Clip", op("Add", op("Mul", X, number("alpha")) | op("Div", X, number("divisor")), number("beta")), 0.0, 1.0
    )
    picture = "clip(alpha x + beta, 0, 1)"
    becomes = "HardSigmoid"
    reach = 1

    def misfit(self, found: Match, last: onnx_ir.Node) -> str:
        if found.numbers.get("divisor") == 0:
            return "the slope is infinite"
        return super().misfit(found, last)

    def attributes(self, found: Match) -> dict[str, AttributeValue]:
        numbers = found.numbers
        if "beta" not in numbers:
            return {"alpha": float(np.float32(_SIXTH)), "beta": 0.5}
        alpha = numbers["alpha"] if "alpha" in numbers else 1 / numbers["divisor"]
        return {"alpha": float(np.float32(alpha)), "beta": numbers["beta"]}


def _is_sixth(node: onnx_ir.Node) -> bool:
    alpha: float = attribute(node, "alpha", 0.2)
    beta: float = attribute(node, "beta", 0.5)
    return abs(alpha - _SIXTH) < 1e-5 and abs(beta - 0.5) < 1e-6
