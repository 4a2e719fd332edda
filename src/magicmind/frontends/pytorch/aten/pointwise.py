"""Arithmetic, comparisons and logic on elements, with PyTorch's promotion of types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.dtypes import torch_dtype
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value

_UNARY = {"abs": "Abs", "sign": "Sign", "round": "Round", "isnan": "IsNaN", "isinf": "IsInf"}
"""The same on every dtype."""
_UNARY_FLOAT = {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "erf": "Erf",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan",
    "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh",
}  # fmt: skip
"""Integers become float32 first."""


def _unary(op_type: str) -> Callable[..., Value]:
    return lambda c, x, *settings: c.net.op(op_type, c.value(x))


def floating(c: Converter, x: Any) -> Value:
    """The tensor, as float32 where it is of integers."""
    value = c.value(x)
    return value if c.dtype(value).is_floating_point else c.cast(value, torch.float32)


def unary_float(op_type: str) -> Callable[..., Value]:
    """The importer of an operator that is ONNX's `op_type` on floats."""
    return lambda c, x, *settings: c.net.op(op_type, floating(c, x))


for _name, _op_type in _UNARY.items():
    aten(_name)(_unary(_op_type))
for _name, _op_type in _UNARY_FLOAT.items():
    aten(_name)(unary_float(_op_type))


@aten("rsqrt")
def rsqrt(c: Converter, x: Tensor) -> Value:
    return c.net.op("Reciprocal", c.net.op("Sqrt", floating(c, x)))


def _log_to(base: float) -> Callable[..., Value]:
    def importer(c: Converter, x: Tensor) -> Value:
        natural = c.net.op("Log", floating(c, x))
        return c.net.op("Mul", natural, c.net.scalar(1 / math.log(base), natural))

    return importer


aten("log2")(_log_to(2.0))
aten("log10")(_log_to(10.0))


@aten("log1p")
def log1p(c: Converter, x: Tensor) -> Value:
    value = floating(c, x)
    return c.net.op("Log", c.net.op("Add", value, c.net.scalar(1.0, value)))


@aten("expm1")
def expm1(c: Converter, x: Tensor) -> Value:
    value = c.net.op("Exp", floating(c, x))
    return c.net.op("Sub", value, c.net.scalar(1.0, value))


@aten("exp2")
def exp2(c: Converter, x: Tensor) -> Value:
    value = floating(c, x)
    return c.net.op("Pow", c.net.scalar(2.0, value), value)


@aten("trunc", "aten::fix")
def trunc(c: Converter, x: Any) -> Value:
    value = c.value(x)
    return c.net.op("Mul", c.net.op("Sign", value), c.net.op("Floor", c.net.op("Abs", value)))


@aten("square")
def square(c: Converter, x: Any) -> Value:
    value = c.value(x)
    return c.net.op("Mul", value, value)


@aten("nan_to_num")
def nan_to_num(c: Converter, x: Tensor, nan: Any = None, high: Any = None, low: Any = None) -> Value:
    value = c.value(x)
    info = torch.finfo(c.dtype(value))
    value = c.net.op("Where", c.net.op("IsNaN", value), c.net.scalar(nan or 0.0, value), value)
    limits = (info.min if low is None else low, info.max if high is None else high)
    return c.net.op("Clip", value, *(c.net.scalar(limit, value) for limit in limits))


# -------------------------------------------------------------------------------------------------------- arithmetic


def scaled(c: Converter, x: Value, factor: Any) -> Value:
    """`factor * x` in the dtype of x."""
    if not isinstance(factor, Tensor) and factor == 1:
        return x
    return c.net.op("Mul", x, c.cast(factor, c.dtype(x)))


@aten("add")
def add(c: Converter, a: Any, b: Any, alpha: Any = 1) -> Any:
    if isinstance(a, list) and isinstance(b, list):
        return a + b
    x, y = c.promoted(a, b)
    if c.dtype(x) == torch.bool:
        return c.net.op("Or", x, y)
    result = c.net.op("Add", x, scaled(c, y, alpha))
    if isinstance(a, Tensor) and isinstance(b, int) and alpha == 1 and c.rank(a) == 0:
        c.sums[id(result)] = (a.payload, b, result)
    return result


@aten("sub", "aten::subtract")
def sub(c: Converter, a: Any, b: Any, alpha: Any = 1) -> Value:
    x, y = c.promoted(a, b)
    return c.net.op("Sub", x, scaled(c, y, alpha))


@aten("rsub")
def rsub(c: Converter, a: Any, b: Any, alpha: Any = 1) -> Value:
    return sub(c, b, a, alpha)


@aten("mul", "aten::multiply")
def mul(c: Converter, a: Any, b: Any) -> Any:
    if isinstance(a, list) and isinstance(b, int):
        return a * b
    x, y = c.promoted(a, b)
    return c.net.op("And" if c.dtype(x) == torch.bool else "Mul", x, y)


@aten("div", "aten::true_divide", "aten::divide")
def div(c: Converter, a: Any, b: Any, rounding_mode: str | None = None) -> Value:
    x, y = c.promoted(a, b)
    if rounding_mode is None:
        return c.net.op("Div", floating(c, x), floating(c, y))
    if rounding_mode == "floor":
        return floor_divide(c, x, y)
    quotient = c.net.op("Div", x, y)
    return trunc(c, quotient) if c.dtype(quotient).is_floating_point else quotient


@aten("floor_divide", "aten::floordiv")
def floor_divide(c: Converter, a: Any, b: Any) -> Value:
    """Rounds down; ONNX's integer Div rounds towards zero, which differs where the signs do."""
    x, y = c.promoted(a, b)
    if c.dtype(x).is_floating_point:
        return c.net.op("Floor", c.net.op("Div", x, y))
    return c.net.op("Div", c.net.op("Sub", x, c.net.op("Mod", x, y)), y)


@aten("remainder")
def remainder(c: Converter, a: Any, b: Any) -> Value:
    x, y = c.promoted(a, b)
    if not c.dtype(x).is_floating_point:
        return c.net.op("Mod", x, y)
    return c.net.op("Sub", x, c.net.op("Mul", y, c.net.op("Floor", c.net.op("Div", x, y))))


@aten("fmod")
def fmod(c: Converter, a: Any, b: Any) -> Value:
    return c.net.op("Mod", *c.promoted(a, b), fmod=1)


@aten("pow")
def pow_(c: Converter, a: Any, b: Any) -> Value:
    if isinstance(a, Tensor) and not isinstance(b, Tensor) and b == 2:
        return square(c, a)
    return c.net.op("Pow", *c.promoted(a, b))


@aten("maximum", "aten::fmax")
def maximum(c: Converter, a: Any, b: Any) -> Value:
    return c.net.op("Max", *c.promoted(a, b))


@aten("minimum", "aten::fmin")
def minimum(c: Converter, a: Any, b: Any) -> Value:
    return c.net.op("Min", *c.promoted(a, b))


@aten("atan2", "aten::arctan2")
def atan2(c: Converter, y: Any, x: Any) -> Value:
    """atan(y / x), half a turn further where x is negative; 0 at the origin."""
    up, right = (floating(c, v) for v in c.promoted(y, x))
    zero = c.net.scalar(0.0, up)
    origin = c.net.op("And", c.net.op("Equal", up, zero), c.net.op("Equal", right, zero))
    angle = c.net.op("Atan", c.net.op("Div", up, c.net.op("Where", origin, c.net.scalar(1.0, up), right)))
    half_turn = c.net.op("Where", c.net.op("Less", up, zero), c.net.scalar(-math.pi, up), c.net.scalar(math.pi, up))
    return c.net.op("Add", angle, c.net.op("Where", c.net.op("Less", right, zero), half_turn, zero))


@aten("addcmul")
def addcmul(c: Converter, x: Tensor, a: Tensor, b: Tensor, value: Any = 1) -> Any:
    return add(c, x, mul(c, a, b), value)


@aten("addcdiv")
def addcdiv(c: Converter, x: Tensor, a: Tensor, b: Tensor, value: Any = 1) -> Any:
    return add(c, x, div(c, a, b), value)


@aten("lerp")
def lerp(c: Converter, a: Tensor, b: Tensor, weight: Any) -> Any:
    return add(c, a, mul(c, sub(c, b, a), weight))


@aten("clamp", "aten::clip")
def clamp(c: Converter, x: Any, low: Any = None, high: Any = None) -> Value:
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        value = c.value(x) if low is None else maximum(c, x, low)
        return value if high is None else minimum(c, value, high)
    kind = c.result_type(x, *(b for b in (low, high) if b is not None))
    return c.net.op("Clip", c.cast(x, kind), *(None if b is None else c.cast(b, kind) for b in (low, high)))


@aten("clamp_min")
def clamp_min(c: Converter, x: Any, low: Any) -> Value:
    return clamp(c, x, low)


@aten("clamp_max")
def clamp_max(c: Converter, x: Any, high: Any) -> Value:
    return clamp(c, x, None, high)


@aten("erfc")
def erfc(c: Converter, x: Tensor) -> Value:
    value = c.net.op("Erf", floating(c, x))
    return c.net.op("Sub", c.net.scalar(1.0, value), value)


@aten("hypot")
def hypot(c: Converter, a: Tensor, b: Tensor) -> Value:
    x, y = c.promoted(a, b)
    return c.net.op("Sqrt", c.net.op("Add", c.net.op("Mul", x, x), c.net.op("Mul", y, y)))


@aten("copysign")
def copysign(c: Converter, a: Any, b: Any) -> Value:
    x, y = c.promoted(a, b)
    size = c.net.op("Abs", x)
    return c.net.op("Where", c.net.op("Less", y, c.net.scalar(0.0, y)), c.net.op("Neg", size), size)


@aten("signbit")
def signbit(c: Converter, x: Tensor) -> Value:
    value = c.value(x)
    return c.net.op("Less", value, c.net.scalar(0, value))


@aten("isclose")
def isclose(c: Converter, a: Tensor, b: Tensor, rtol: float = 1e-5, atol: float = 1e-8, nan: bool = False) -> Value:
    x, y = (floating(c, v) for v in c.promoted(a, b))
    room = c.net.op("Mul", c.net.op("Abs", y), c.net.scalar(rtol, y))
    near = c.net.op("LessOrEqual", c.net.op("Abs", c.net.op("Sub", x, y)), c.net.op("Add", room, c.net.scalar(atol, y)))
    same = c.net.op("Or", near, c.net.op("Equal", x, y))  # infinities are close to themselves
    return c.net.op("Or", same, c.net.op("And", c.net.op("IsNaN", x), c.net.op("IsNaN", y))) if nan else same


# ------------------------------------------------------------------------------------------------- logic and choices


_LOGIC = {"and": "And", "or": "Or", "xor": "Xor"}


def _logical(op_type: str) -> Callable[..., Value]:
    return lambda c, a, b: c.net.op(op_type, c.cast(a, torch.bool), c.cast(b, torch.bool))


def _bitwise(op_type: str) -> Callable[..., Value]:
    def importer(c: Converter, a: Any, b: Any) -> Value:
        x, y = c.promoted(a, b)
        return c.net.op(op_type if c.dtype(x) == torch.bool else f"Bitwise{op_type}", x, y)

    return importer


for _name, _op_type in _LOGIC.items():
    aten(f"logical_{_name}")(_logical(_op_type))
    aten(f"bitwise_{_name}", f"aten::__{_name}__")(_bitwise(_op_type))


@aten("logical_not")
def logical_not(c: Converter, x: Tensor) -> Value:
    return c.net.op("Not", c.cast(x, torch.bool))


@aten("bitwise_not")
def bitwise_not(c: Converter, x: Tensor) -> Value:
    return c.net.op("Not" if c.dtype(x) == torch.bool else "BitwiseNot", c.value(x))


@aten("where")
def where(c: Converter, condition: Tensor, *choices: Any) -> Any:
    if not choices:
        return list(nonzero_axes(c, condition))
    return c.net.op("Where", c.cast(condition, torch.bool), *c.promoted(*choices))


def nonzero_axes(c: Converter, x: Any) -> list[Value]:
    """The positions of what is not zero, a vector for each axis."""
    found = c.net.op("NonZero", c.value(x))
    rows = c.net.ops("Split", found, count=c.rank(x), axis=0, num_outputs=c.rank(x))
    return [c.net.squeeze(row, 0) for row in rows]


@aten("masked_fill")
def masked_fill(c: Converter, x: Tensor, mask: Tensor, number: Any) -> Value:
    return c.net.op("Where", c.cast(mask, torch.bool), c.cast(number, c.dtype(x)), c.value(x))


# ------------------------------------------------------------------------------------------------------------- casts


@aten("to")
def to(c: Converter, x: Tensor, *settings: Any) -> Any:
    """A dtype, a device and a dtype, or another tensor, followed by flags."""
    for setting in settings:
        if isinstance(setting, Tensor):
            return _cast(c, x, c.dtype(setting))
        if isinstance(setting, torch.dtype) or (isinstance(setting, int) and not isinstance(setting, bool)):
            return _cast(c, x, torch_dtype(setting))
    return x.payload


def _cast(c: Converter, x: Tensor, dtype: torch.dtype) -> Any:
    return x.payload if c.dtype(x) == dtype else c.cast(x, dtype)


@aten("_to_copy")
def to_copy(c: Converter, x: Tensor, dtype: Any = None, *settings: Any) -> Any:
    return x.payload if dtype is None else _cast(c, x, torch_dtype(dtype))


@aten("type_as")
def type_as(c: Converter, x: Tensor, other: Tensor) -> Any:
    return _cast(c, x, c.dtype(other))


def _to(dtype: torch.dtype) -> Callable[..., Any]:
    return lambda c, x, *settings: _cast(c, x, dtype)


for _name, _dtype in {"float": torch.float32, "half": torch.float16, "double": torch.float64, "long": torch.int64,
                      "int": torch.int32, "bool": torch.bool, "bfloat16": torch.bfloat16}.items():  # fmt: skip
    aten(_name, f"aten::_cast_{_name.capitalize()}")(_to(_dtype))
