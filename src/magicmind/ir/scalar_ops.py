"""The operators of scalar programs: the one table of names, arities, literal arguments, result types and meaning.

A row is an ONNX elementwise operator. Its tensor inputs are the first `arity` arguments; its attributes follow as
literal arguments in the order of `literals`. `group` are the arguments that share one dtype (a literal among them takes
it). `evaluate` is the reference: floats arrive as float64 (the caller rounds the result to the dtype of the statement,
which is what an exactly rounded operation in that dtype gives), integers and bools in their own dtype.

Kernel generators key their own instruction tables by these names; a name missing there is lowered to the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx_ir import DataType

from magicmind.ir.narrow import NARROW, cast_narrow

__all__ = ["SCALAR_OPS", "Attribute", "ScalarOp"]

Array = Any  # numpy arrays of any dtype; the functions below are too short to gain from more

REQUIRED = object()


@dataclass(frozen=True)
class Attribute:
    """An ONNX attribute that becomes a literal argument; `default` is `REQUIRED` where ONNX has none."""

    name: str
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


@dataclass(frozen=True)
class ScalarOp:
    """One row. `result` is "same" (dtype of `group`), "bool", or "cast" (the DataType literal)."""

    name: str
    arity: int
    evaluate: Callable[..., Array]
    literals: tuple[Attribute, ...] = ()
    result: str = "same"
    group: tuple[int, ...] = ()
    commutes: bool = False


def _erf(x: Array) -> Array:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), np.float64)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1.0 + _erf(x / math.sqrt(2.0)))


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # no overflow on either side


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def _gelu(x: Array, approximate: str) -> Array:
    if approximate == "tanh":
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    return x * _normal_cdf(x)


def _divide(a: Array, b: Array) -> Array:
    if np.issubdtype(np.asarray(a).dtype, np.floating):
        return a / b
    # ONNX leaves the rounding of integers to the implementation; C truncates, and so does every peer.
    # Division by zero gives zero here instead of a trap.
    safe = np.where(b == 0, np.ones_like(b), b)
    quotient = a // safe
    truncated = quotient + ((a - quotient * safe != 0) & ((a < 0) != (safe < 0))).astype(quotient.dtype)
    return np.where(b == 0, np.zeros_like(truncated), truncated)


def _modulo(a: Array, b: Array, fmod: int) -> Array:
    return np.fmod(a, b) if fmod else np.mod(a, b)


def _power(a: Array, b: Array) -> Array:
    if np.issubdtype(np.asarray(a).dtype, np.floating) or not np.any(np.asarray(b) < 0):
        return np.power(a, b)
    return np.power(np.asarray(a, np.float64), b)  # an integer base with a negative exponent truncates afterwards


def _shift(a: Array, b: Array, direction: str) -> Array:
    a, b = np.asarray(a), np.asarray(b)
    last = 8 * a.itemsize - 1
    beyond = (b < 0) | (b > last)
    if direction == "RIGHT":
        shifted = np.right_shift(a, np.where(beyond, last, b).astype(a.dtype))
        return shifted if a.dtype.kind == "i" else np.where(beyond, 0, shifted).astype(a.dtype)
    return np.where(beyond, 0, np.left_shift(a, np.where(beyond, 0, b).astype(a.dtype))).astype(a.dtype)


def _is_inf(x: Array, negative: int, positive: int) -> Array:
    return ((x == np.inf) & bool(positive)) | ((x == -np.inf) & bool(negative))


def _shrink(x: Array, lambd: float, bias: float) -> Array:
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, np.zeros_like(x)))


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _clip(x: Array, low: Array, high: Array) -> Array:
    return np.minimum(np.maximum(x, low), high)  # low > high gives high, as ONNX asks


def _quantise(x: Array, zero: int, to: DataType) -> Array:
    """Saturates; a NaN becomes the lowest number."""
    low, high = np.iinfo(to.numpy()).min, np.iinfo(to.numpy()).max
    return np.clip(np.nan_to_num(np.rint(x), nan=-np.inf) + zero, low, high)


def _unary(name: str, evaluate: Callable[..., Array], *literals: Attribute, result: str = "same") -> ScalarOp:
    return ScalarOp(name, 1, evaluate, literals, result, (0,))


def _binary(
    name: str, evaluate: Callable[..., Array], *literals: Attribute, result: str = "same", commutes: bool = False
) -> ScalarOp:
    return ScalarOp(name, 2, evaluate, literals, result, (0, 1), commutes)


_ROWS = (
    # arithmetic
    _binary("Add", lambda a, b: a + b, commutes=True),
    _binary("Sub", lambda a, b: a - b),
    _binary("Mul", lambda a, b: a * b, commutes=True),
    _binary("Div", _divide),
    _binary("Pow", _power),
    _binary("Mod", _modulo, Attribute("fmod", 0)),
    _binary("Min", np.minimum, commutes=True),
    _binary("Max", np.maximum, commutes=True),
    _unary("Neg", lambda x: -x),
    _unary("Abs", np.abs),
    _unary("Sign", np.sign),
    _unary("Reciprocal", lambda x: 1.0 / x),
    _unary("Sqrt", np.sqrt),
    _unary("Exp", np.exp),
    _unary("Log", np.log),
    _unary("Erf", _erf),
    _unary("Floor", np.floor),
    _unary("Ceil", np.ceil),
    _unary("Round", np.rint),  # half to even
    # trigonometry
    _unary("Sin", np.sin),
    _unary("Cos", np.cos),
    _unary("Tan", np.tan),
    _unary("Asin", np.arcsin),
    _unary("Acos", np.arccos),
    _unary("Atan", np.arctan),
    _unary("Sinh", np.sinh),
    _unary("Cosh", np.cosh),
    _unary("Tanh", np.tanh),
    _unary("Asinh", np.arcsinh),
    _unary("Acosh", np.arccosh),
    _unary("Atanh", np.arctanh),
    # activations
    _unary("Relu", lambda x: np.maximum(x, 0)),
    _unary("LeakyRelu", lambda x, alpha: np.where(x < 0, alpha * x, x), Attribute("alpha", 0.01)),
    _binary("PRelu", lambda x, slope: np.where(x < 0, slope * x, x)),
    _unary("ThresholdedRelu", lambda x, alpha: np.where(x > alpha, x, np.zeros_like(x)), Attribute("alpha", 1.0)),
    _unary("Elu", _elu, Attribute("alpha", 1.0)),
    _unary("Celu", lambda x, a: np.maximum(x, 0) + np.minimum(0, a * np.expm1(x / a)), Attribute("alpha", 1.0)),
    _unary(
        "Selu",
        lambda x, alpha, gamma: gamma * _elu(x, alpha),
        Attribute("alpha", 1.6732632),
        Attribute("gamma", 1.050701),
    ),
    _unary("Sigmoid", _sigmoid),
    _unary(
        "HardSigmoid",
        lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
        Attribute("alpha", 0.2),
        Attribute("beta", 0.5),
    ),
    _unary("HardSwish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    _unary("Swish", lambda x, alpha: x * _sigmoid(alpha * x), Attribute("alpha", 1.0)),
    _unary("Softplus", _softplus),
    _unary("Softsign", lambda x: x / (1 + np.abs(x))),
    _unary("Mish", lambda x: x * np.tanh(_softplus(x))),
    _unary("Gelu", _gelu, Attribute("approximate", "none")),
    _unary("Shrink", _shrink, Attribute("lambd", 0.5), Attribute("bias", 0.0)),
    # selection and comparison
    ScalarOp("Clip", 3, _clip, group=(0, 1, 2)),
    ScalarOp("Where", 3, lambda c, a, b: np.where(c, a, b), group=(1, 2)),
    _binary("Equal", lambda a, b: a == b, result="bool", commutes=True),
    _binary("Less", lambda a, b: a < b, result="bool"),
    _binary("Greater", lambda a, b: a > b, result="bool"),
    _binary("LessOrEqual", lambda a, b: a <= b, result="bool"),
    _binary("GreaterOrEqual", lambda a, b: a >= b, result="bool"),
    _unary("IsNaN", np.isnan, result="bool"),
    _unary("IsInf", _is_inf, Attribute("detect_negative", 1), Attribute("detect_positive", 1), result="bool"),
    # logic and bits
    _binary("And", np.logical_and, commutes=True),
    _binary("Or", np.logical_or, commutes=True),
    _binary("Xor", np.logical_xor, commutes=True),
    _unary("Not", np.logical_not),
    _binary("BitwiseAnd", np.bitwise_and, commutes=True),
    _binary("BitwiseOr", np.bitwise_or, commutes=True),
    _binary("BitwiseXor", np.bitwise_xor, commutes=True),
    _unary("BitwiseNot", np.invert),
    _binary("BitShift", _shift, Attribute("direction")),
    # types
    _unary("Cast", lambda x, to: cast_narrow(x, to) if to in NARROW else x, Attribute("to"), result="cast"),
    _unary(  # a Cast that says how to round to few bits
        "NarrowCast",
        lambda x, saturate, round_mode, to: cast_narrow(x, to, bool(saturate), round_mode),
        Attribute("saturate", 1),
        Attribute("round_mode", "up"),
        Attribute("to"),
        result="cast",
    ),
    # to whole numbers of few bits: round half to even, add the zero point, saturate
    _unary("Quantise", _quantise, Attribute("zero"), Attribute("to"), result="cast"),
    _unary("Identity", lambda x: x),
)

SCALAR_OPS: dict[str, ScalarOp] = {row.name: row for row in _ROWS}
