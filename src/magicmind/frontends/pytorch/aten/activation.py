"""Activations."""

from __future__ import annotations

from typing import Any

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.aten.pointwise import unary_float
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value

for _name, _op_type in {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "mish": "Mish", "hardswish": "HardSwish",
}.items():  # fmt: skip
    aten(_name)(unary_float(_op_type))


@aten("relu6")
def relu6(c: Converter, x: Tensor) -> Value:
    return hardtanh(c, x, 0.0, 6.0)


@aten("hardtanh")
def hardtanh(c: Converter, x: Tensor, low: float = -1.0, high: float = 1.0) -> Value:
    value = c.value(x)
    return c.net.op("Clip", value, c.net.scalar(low, value), c.net.scalar(high, value))


@aten("gelu")
def gelu(c: Converter, x: Tensor, approximate: str = "none") -> Value:
    return c.net.op("Gelu", c.value(x), approximate=approximate)


@aten("silu")
def silu(c: Converter, x: Tensor) -> Value:
    value = c.value(x)
    return c.net.op("Mul", value, c.net.op("Sigmoid", value))


@aten("hardsigmoid")
def hardsigmoid(c: Converter, x: Tensor) -> Value:
    return c.net.op("HardSigmoid", c.value(x), alpha=1 / 6, beta=0.5)


@aten("leaky_relu")
def leaky_relu(c: Converter, x: Tensor, slope: float = 0.01) -> Value:
    return c.net.op("LeakyRelu", c.value(x), alpha=float(slope))


@aten("prelu", "aten::_prelu_kernel")
def prelu(c: Converter, x: Tensor, weight: Tensor) -> Value:
    slope, rank = c.value(weight), c.rank(x)
    if c.rank(weight) == 1 and rank > 2:
        slope = c.net.unsqueeze(slope, *range(1, rank - 1))
    return c.net.op("PRelu", c.value(x), slope)


@aten("elu")
def elu(c: Converter, x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    value = c.value(x)
    if input_scale != 1:
        raise UnsupportedOperatorError("ELU with an input scale")
    result = c.net.op("Elu", value, alpha=float(alpha))
    return result if scale == 1 else c.net.op("Mul", result, c.net.scalar(scale, value))


@aten("celu")
def celu(c: Converter, x: Tensor, alpha: float = 1.0) -> Value:
    return c.net.op("Celu", c.value(x), alpha=float(alpha))


@aten("selu")
def selu(c: Converter, x: Tensor) -> Value:
    return c.net.op("Selu", c.value(x))


@aten("softplus")
def softplus(c: Converter, x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Value:
    """log(1 + exp(beta x)) / beta, and x itself beyond the threshold."""
    value = c.value(x)
    inner = value if beta == 1 else c.net.op("Mul", value, c.net.scalar(beta, value))
    soft = c.net.op("Softplus", inner)
    if beta != 1:
        soft = c.net.op("Div", soft, c.net.scalar(beta, value))
    return c.net.op("Where", c.net.op("Greater", inner, c.net.scalar(threshold, value)), value, soft)


@aten("softsign")
def softsign(c: Converter, x: Tensor) -> Value:
    return c.net.op("Softsign", c.value(x))


@aten("log_sigmoid")
def log_sigmoid(c: Converter, x: Tensor) -> Value:
    return c.net.op("Neg", c.net.op("Softplus", c.net.op("Neg", c.value(x))))


@aten("hardshrink")
def hardshrink(c: Converter, x: Tensor, lambd: float = 0.5) -> Value:
    return c.net.op("Shrink", c.value(x), lambd=float(lambd), bias=0.0)


@aten("softshrink")
def softshrink(c: Converter, x: Tensor, lambd: float = 0.5) -> Value:
    return c.net.op("Shrink", c.value(x), lambd=float(lambd), bias=float(lambd))


@aten("threshold")
def threshold(c: Converter, x: Tensor, limit: float, number: float) -> Value:
    value = c.value(x)
    over = c.net.op("Greater", value, c.net.scalar(limit, value))
    return c.net.op("Where", over, value, c.net.scalar(number, value))


@aten("glu")
def glu(c: Converter, x: Tensor, dim: int = -1) -> Value:
    first, second = c.net.ops("Split", c.value(x), count=2, axis=dim, num_outputs=2)
    return c.net.op("Mul", first, c.net.op("Sigmoid", second))


@aten("softmax", "aten::_softmax")
def softmax(c: Converter, x: Tensor, dim: int, dtype: Any = None) -> Value:
    return c.net.op("Softmax", _as(c, x, dtype), axis=dim)


@aten("log_softmax", "aten::_log_softmax")
def log_softmax(c: Converter, x: Tensor, dim: int, dtype: Any = None) -> Value:
    return c.net.op("LogSoftmax", _as(c, x, dtype), axis=dim)


def _as(c: Converter, x: Tensor, dtype: Any) -> Value:
    """With another dtype, where one is asked for; a bool says that float16 is to be widened."""
    wide = isinstance(dtype, bool) or dtype is None
    return c.value(x) if wide else c.cast(x, dtype)


@aten("dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout", "aten::native_dropout")
def dropout(c: Converter, x: Tensor, p: float, train: bool | None) -> Any:
    if train:
        raise UnsupportedOperatorError("dropout in training mode", hint="call eval() on the module before export")
    return x.payload


@aten("rrelu")
def rrelu(c: Converter, x: Tensor, low: float = 0.125, high: float = 1 / 3, train: bool = False, *rest: Any) -> Value:
    if train:
        raise UnsupportedOperatorError("rrelu in training mode", hint="call eval() on the module before export")
    return c.net.op("LeakyRelu", c.value(x), alpha=(low + high) / 2)
