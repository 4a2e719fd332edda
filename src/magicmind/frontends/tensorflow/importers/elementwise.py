"""Arithmetic, comparisons, activations and choices, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from magicmind.frontends.network import Network
from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.items import PART, Item
from magicmind.frontends.tensorflow.layout import along, first, last, pointwise
from magicmind.ir.dims import bounds
from magicmind.ops.emitter import Value

_UNARY = {
    "Abs": "Abs", "Acos": "Acos", "Acosh": "Acosh", "Asin": "Asin", "Asinh": "Asinh", "Atan": "Atan",
    "Atanh": "Atanh", "Ceil": "Ceil", "Cos": "Cos", "Cosh": "Cosh", "Elu": "Elu", "Erf": "Erf", "Exp": "Exp",
    "Floor": "Floor", "Inv": "Reciprocal", "IsInf": "IsInf", "IsNan": "IsNaN", "Log": "Log", "LogicalNot": "Not",
    "Neg": "Neg", "Reciprocal": "Reciprocal", "Relu": "Relu", "Rint": "Round", "Round": "Round", "Selu": "Selu",
    "Sigmoid": "Sigmoid", "Sign": "Sign", "Sin": "Sin", "Sinh": "Sinh", "Softplus": "Softplus",
    "Softsign": "Softsign", "Sqrt": "Sqrt", "Tan": "Tan", "Tanh": "Tanh", "Invert": "BitwiseNot",
}  # fmt: skip
"""By the name in TensorFlow; all of them exist in ONNX with the same meaning."""

_BINARY = {
    "Add": "Add", "AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "RealDiv": "Div", "TruncateDiv": "Div", "Pow": "Pow",
    "Maximum": "Max", "Minimum": "Min", "Equal": "Equal", "Greater": "Greater", "GreaterEqual": "GreaterOrEqual",
    "Less": "Less", "LessEqual": "LessOrEqual", "LogicalAnd": "And", "LogicalOr": "Or", "BitwiseAnd": "BitwiseAnd",
    "BitwiseOr": "BitwiseOr", "BitwiseXor": "BitwiseXor",
}  # fmt: skip


def unary(c: Call, op_type: str, **attributes: Any) -> Value:
    """An ONNX operator with one input."""
    return pointwise(c, lambda x: c.net.op(op_type, x, **attributes), c.x)


def _one(op_type: str) -> Callable[[Call], Value]:
    def convert(c: Call) -> Value:
        return unary(c, op_type)

    convert.__doc__ = f"{op_type}."
    return convert


def _two(op_type: str) -> Callable[[Call], Value]:
    def convert(c: Call) -> Value:
        return pointwise(c, lambda x, y: c.net.op(op_type, x, y), c.x, c.value(1))

    convert.__doc__ = f"{op_type}."
    return convert


for _name, _op in _UNARY.items():
    importer(_name)(_one(_op))
for _name, _op in _BINARY.items():
    importer(_name)(_two(_op))


@importer("Relu6")
def relu6(c: Call) -> Value:
    """Clip to 0..6."""
    low, high = c.net.scalar(0, c.x), c.net.scalar(6, c.x)
    return pointwise(c, lambda x: c.net.op("Clip", x, low, high), c.x)


@importer("LeakyRelu")
def leaky_relu(c: Call) -> Value:
    """LeakyRelu; the slope is 0.2 unless given."""
    return unary(c, "LeakyRelu", alpha=float(c.attr("alpha", 0.2)))


@importer("ClipByValue")
def clip_by_value(c: Call) -> Value:
    """Min and Max, which also take bounds that broadcast."""
    net = c.net
    return pointwise(
        c, lambda x, low, high: net.op("Min", net.op("Max", x, low), high), *(c.value(i) for i in range(3))
    )


@importer("Square")
def square(c: Call) -> Value:
    """x * x."""
    return pointwise(c, lambda x: c.net.op("Mul", x, x), c.x)


@importer("SquaredDifference")
def squared_difference(c: Call) -> Value:
    """(x - y) squared."""

    def build(x: Value, y: Value) -> Value:
        change = c.net.op("Sub", x, y)
        return c.net.op("Mul", change, change)

    return pointwise(c, build, c.x, c.value(1))


@importer("Rsqrt")
def rsqrt(c: Call) -> Value:
    """1 / sqrt(x)."""
    return pointwise(c, lambda x: c.net.op("Reciprocal", c.net.op("Sqrt", x)), c.x)


@importer("Log1p")
def log1p(c: Call) -> Value:
    """log(1 + x)."""
    return pointwise(c, lambda x: c.net.op("Log", c.net.op("Add", x, c.net.scalar(1, x))), c.x)


@importer("Expm1")
def expm1(c: Call) -> Value:
    """exp(x) - 1, by Elu where that is exact for small x."""
    net = c.net

    def build(x: Value) -> Value:
        zero = net.scalar(0, x)
        return net.op(
            "Where", net.op("Less", x, zero), net.op("Elu", x), net.op("Sub", net.op("Exp", x), net.scalar(1, x))
        )

    return pointwise(c, build, c.x)


@importer("Erfc")
def erfc(c: Call) -> Value:
    """1 - erf(x)."""
    return pointwise(c, lambda x: c.net.op("Sub", c.net.scalar(1, x), c.net.op("Erf", x)), c.x)


@importer("Atan2")
def atan2(c: Call) -> Value:
    """The angle of (x, y), by the quadrant."""
    return quadrant(c.net, c.x, c.value(1))


def quadrant(net: Network, y: Value, x: Value) -> Value:
    """The angle of (x, y)."""
    zero = net.scalar(0, x)
    angle = net.op("Atan", net.op("Div", y, x))
    half_turn = net.op("Where", net.op("Less", y, zero), net.scalar(-np.pi, x), net.scalar(np.pi, x))
    found = net.op("Where", net.op("Less", x, zero), net.op("Add", angle, half_turn), angle)
    both = net.op("And", net.op("Equal", x, zero), net.op("Equal", y, zero))
    return net.op("Where", both, zero, found)


@importer("IsFinite")
def is_finite(c: Call) -> Value:
    """Neither infinite nor NaN."""

    def build(x: Value) -> Value:
        return c.net.op("Not", c.net.op("Or", c.net.op("IsInf", x), c.net.op("IsNaN", x)))

    return pointwise(c, build, c.x)


@importer("NotEqual")
def not_equal(c: Call) -> Value:
    """Not(Equal)."""
    return pointwise(c, lambda x, y: c.net.op("Not", c.net.op("Equal", x, y)), c.x, c.value(1))


@importer("LogicalXor")
def logical_xor(c: Call) -> Value:
    """Xor."""
    return pointwise(c, lambda x, y: c.net.op("Xor", x, y), c.x, c.value(1))


@importer("AddN")
def add_n(c: Call) -> Value:
    """Sum."""
    return pointwise(c, lambda *terms: c.net.op("Sum", *terms), *c.values)


@importer("BiasAdd", "BiasAddV1")
def bias_add(c: Call) -> Value:
    """Add along the channels, which are last unless data_format says NCHW."""
    if c.attr("data_format", "NHWC") == "NCHW" and c.rank() > 2:
        array, ones = c.known(c.value(1)), (1,) * (c.rank() - 2)
        bias = c.net.const(array.reshape(-1, *ones)) if array is not None else c.net.reshape(c.value(1), -1, *ones)
        return c.net.op("Add", c.x, bias)
    return pointwise(c, lambda x, y: c.net.op("Add", x, y), c.x, c.value(1))


@importer("Div")
def div(c: Call) -> Value:
    """Division; of whole numbers rounded towards minus infinity."""
    return floor_div(c) if c.net.type(c.x).dtype.is_integer() else _two("Div")(c)


@importer("DivNoNan")
def div_no_nan(c: Call) -> Value:
    """Division that gives 0 for a divisor of 0."""
    net = c.net

    def build(x: Value, y: Value) -> Value:
        zero, one = net.scalar(0, y), net.scalar(1, y)
        none = net.op("Equal", y, zero)
        return net.op("Where", none, zero, net.op("Div", x, net.op("Where", none, one, y)))

    return pointwise(c, build, c.x, c.value(1))


@importer("MulNoNan")
def mul_no_nan(c: Call) -> Value:
    """A product that is 0 where the second factor is."""
    net = c.net

    def build(x: Value, y: Value) -> Value:
        zero = net.scalar(0, y)
        return net.op("Where", net.op("Equal", y, zero), zero, net.op("Mul", x, y))

    return pointwise(c, build, c.x, c.value(1))


@importer("Xlogy", "Xlog1py", "Xdivy")
def zero_first(c: Call) -> Value:
    """x * log(y), x * log(1 + y) or x / y, 0 for x = 0."""
    net = c.net

    def build(x: Value, y: Value) -> Value:
        zero, one = net.scalar(0, x), net.scalar(1, x)
        none = net.op("Equal", x, zero)
        if c.node.op == "Xdivy":
            return net.op("Where", none, zero, net.op("Div", x, net.op("Where", none, one, y)))
        inner = y if c.node.op == "Xlogy" else net.op("Add", y, one)
        return net.op("Where", none, zero, net.op("Mul", x, net.op("Log", inner)))

    return pointwise(c, build, c.x, c.value(1))


@importer("FloorDiv")
def floor_div(c: Call) -> Value:
    """Division rounded towards minus infinity."""
    net, x, y = c.net, c.x, c.value(1)
    if not net.type(x).dtype.is_integer():
        return pointwise(c, lambda a, b: net.op("Floor", net.op("Div", a, b)), x, y)
    arrays = [c.known(v) for v in (x, y)]
    if arrays[0] is not None and arrays[1] is not None and arrays[1].all():
        return net.const(arrays[0] // arrays[1])
    if _positive(c, 0) and _positive(c, 1):
        return net.op("Div", x, y)
    quotient = net.op("Div", x, y)
    rest = net.op("Sub", x, net.op("Mul", quotient, y))
    zero, one = net.scalar(0, x), net.scalar(1, x)
    opposite = net.op("Xor", net.op("Less", x, zero), net.op("Less", y, zero))
    uneven = net.op("And", opposite, net.op("Not", net.op("Equal", rest, zero)))
    return net.op("Sub", quotient, net.op("Where", uneven, one, zero))


def _positive(c: Call, i: int) -> bool:
    """Whether input `i` is known to hold no negative number: it then rounds in one way only."""
    found = c.dims(i)
    return found is not None and all(bounds(d, c.net.ranges)[0] >= 0 for d in found)


@importer("FloorMod", "Mod")
def floor_mod(c: Call) -> Value:
    """The rest with the sign of the divisor."""
    net = c.net
    if net.type(c.x).dtype.is_integer():
        return net.op("Mod", c.x, c.value(1))
    return pointwise(
        c, lambda x, y: net.op("Sub", x, net.op("Mul", net.op("Floor", net.op("Div", x, y)), y)), c.x, c.value(1)
    )


@importer("TruncateMod")
def truncate_mod(c: Call) -> Value:
    """The rest with the sign of the dividend."""
    return c.net.op("Mod", c.x, c.value(1), fmod=1)


@importer("Cast")
def cast(c: Call) -> Item:
    """Cast; to a bool it asks whether a number is not zero."""
    dtype = c.node.dtype("DstT")
    if dtype in PART:
        return c.pair(0, PART[dtype])
    return pointwise(c, lambda x: c.net.cast(x, dtype), c.x) if c.net.type(c.x).dtype != dtype else c.x


@importer("Bitcast")
def bitcast(c: Call) -> Value:
    """BitCast between types of one size."""
    dtype = c.node.dtype("type")
    if dtype.itemsize != c.net.type(c.x).dtype.itemsize:
        raise c.unsupported("changes the size of elements")
    return c.net.op("BitCast", c.x, to=int(dtype))


@importer("SelectV2", "Select")
def select(c: Call) -> Value:
    """Where; the condition of old ones may be a vector that chooses rows."""
    condition, x, y = (c.value(i) for i in range(3))
    if c.node.op == "Select" and c.rank(0) == 1 and c.rank(1) > 1:
        condition = c.net.unsqueeze(condition, *range(1, c.rank(1)))
    return pointwise(c, lambda *operands: c.net.op("Where", *operands), condition, x, y)


@importer("Softmax", "LogSoftmax")
def softmax(c: Call) -> Value:
    """Over the last axis."""
    return along(c, c.x, [c.rank() - 1], lambda x, axes: c.net.op(c.node.op, x, axis=axes[0]))


@importer("Prelu")
def prelu(c: Call) -> Value:
    """PRelu with slopes for channels."""
    return last(c, c.net.op("PRelu", first(c, c.x), c.value(1)))
