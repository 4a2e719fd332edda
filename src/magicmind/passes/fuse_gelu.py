"""GELU as exporters spell it, by erf or by tanh and with its products in any order, becomes one operator.

x / 2 * (1 + erf(x / sqrt 2)) and x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))); Hendrycks and Gimpel 2016,
"Gaussian Error Linear Units". The operator saves its parts' way through memory where they are not fused, and a second
reading of x where they are.
"""

from __future__ import annotations

import math

from magicmind.passes.edit import AttributeValue
from magicmind.passes.pattern import FusePattern, Match, Pattern, any_value, op

X = any_value("x")
_HALF = op("Mul", X, 0.5) | op("Div", X, 2.0)
_CUBE = op("Pow", X, 3.0) | op("Mul", X, op("Mul", X, X) | op("Pow", X, 2.0))
_ROOT = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def _of(bell: Pattern) -> Pattern:
    """x / 2 * bell, the products in any order."""
    product = op("Mul", X, bell)
    return op("Mul", _HALF, bell) | op("Mul", product, 0.5) | op("Div", product, 2.0) | op("Mul", X, _halved(bell))


def _halved(value: Pattern) -> Pattern:
    return op("Mul", value, 0.5) | op("Div", value, 2.0)


_ERF = op("Erf", op("Div", X, math.sqrt(2.0)) | op("Mul", X, math.sqrt(0.5)))
_SUM = op("Add", X, op("Mul", _CUBE, _CUBIC) | op("Mul", X, op("Mul", X, op("Mul", X, _CUBIC)))) | op(
    "Add", X, op("Mul", op("Mul", X, X), op("Mul", X, _CUBIC))
)
_FACTORED = op("Mul", X, op("Add", op("Mul", op("Mul", X, X) | op("Pow", X, 2.0), _CUBIC), 1.0))
_FACTORED_ROOT = op(
    "Mul", op("Mul", X, _ROOT), op("Add", op("Mul", op("Mul", X, X) | op("Pow", X, 2.0), _CUBIC), 1.0)
)  # Keras, and JAX at times
_TANH = op("Tanh", op("Mul", _SUM | _FACTORED, _ROOT) | _FACTORED_ROOT)


class FuseGelu(FusePattern):
    """x / 2 * (1 + erf(x / sqrt 2)) and its approximation by tanh become Gelu."""

    roots = frozenset({"Erf", "Tanh"})
    pattern = _of(op("Add", _ERF, 1.0)) | _of(op("Add", _TANH, 1.0))
    picture = "x / 2 * (1 + erf(x / sqrt 2)) or x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))"
    becomes = "Gelu"
    reach = 3

    def attributes(self, found: Match) -> dict[str, AttributeValue]:
        return {"approximate": "none" if any(n.op_type == "Erf" for n in found.nodes) else "tanh"}
