"""Functions of one element, and layers that do nothing at inference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.caffe.layer import Layer, importer
from magicmind.ops.emitter import Value

_PLAIN = {
    "AbsVal": "Abs",
    "BNLL": "Softplus",
    "HardSwish": "HardSwish",
    "HSwish": "HardSwish",
    "Mish": "Mish",
    "Sigmoid": "Sigmoid",
    "SigmoidCrossEntropyLoss": "Sigmoid",
    "TanH": "Tanh",
}


@importer(*_PLAIN)
def plain(layer: Layer) -> Value:
    """One ONNX operator without attributes; of the loss, what it compares with the labels."""
    return layer.net.op(_PLAIN[layer.message.type], layer.x)


@importer("ReLU", each=True)
def relu(layer: Layer) -> Value:
    """max(x, 0) + slope * min(x, 0)."""
    slope = layer.message.relu_param.negative_slope
    return layer.net.op("LeakyRelu", layer.x, alpha=slope) if slope else layer.net.op("Relu", layer.x)


@importer("ReLU6")
def relu6(layer: Layer) -> Value:
    """Clipped to 0..6."""
    return layer.net.op("Clip", layer.x, layer.net.scalar(0, layer.x), layer.net.scalar(6, layer.x))


@importer("Clip")
def clip(layer: Layer) -> Value:
    """Clipped to min..max."""
    p, net = layer.message.clip_param, layer.net
    return net.op("Clip", layer.x, net.scalar(p.min, layer.x), net.scalar(p.max, layer.x))


@importer("PReLU", each=True)
def prelu(layer: Layer) -> Value:
    """A slope for each channel (axis 1), or one for all."""
    shared = layer.message.prelu_param.channel_shared
    channels = 1 if shared else layer.size(layer.x, 1)
    slope = layer.blob(0, (channels,), "slopes").reshape(channels, *[1] * (layer.net.rank(layer.x) - 2))
    return layer.net.op("PRelu", layer.x, layer.net.const(slope))


@importer("ELU")
def elu(layer: Layer) -> Value:
    """x, or alpha * (exp(x) - 1) below 0."""
    return layer.net.op("Elu", layer.x, alpha=layer.message.elu_param.alpha)


@importer("Swish")
def swish(layer: Layer) -> Value:
    """x * sigmoid(beta * x)."""
    inner = scaled(layer, layer.x, layer.message.swish_param.beta, 0)
    return layer.net.op("Mul", layer.x, layer.net.op("Sigmoid", inner))


@importer("Power")
def power(layer: Layer) -> Value:
    """(shift + scale * x) ^ power."""
    p, net = layer.message.power_param, layer.net
    inner = scaled(layer, layer.x, p.scale, p.shift)
    match p.power:
        case 1:
            return inner if inner is not layer.x else net.op("Identity", inner)
        case 2:
            return net.op("Mul", inner, inner)
        case 0.5:
            return net.op("Sqrt", inner)
        case -1:
            return net.op("Reciprocal", inner)
        case _:
            return net.op("Pow", inner, net.scalar(p.power, inner))


@importer("Exp")
def exponential(layer: Layer) -> Value:
    """base ^ (shift + scale * x); base -1 is e."""
    p = layer.message.exp_param
    rate = 1.0 if p.base == -1 else math.log(p.base)
    return layer.net.op("Exp", scaled(layer, layer.x, p.scale * rate, p.shift * rate))


@importer("Log")
def logarithm(layer: Layer) -> Value:
    """log_base(shift + scale * x); base -1 is e."""
    p, net = layer.message.log_param, layer.net
    y = net.op("Log", scaled(layer, layer.x, p.scale, p.shift))
    return y if p.base == -1 else net.op("Mul", y, net.scalar(1 / math.log(p.base), y))


@importer("Threshold")
def threshold(layer: Layer) -> Value:
    """1 above the threshold, else 0."""
    net = layer.net
    above = net.op("Greater", layer.x, net.scalar(layer.message.threshold_param.threshold, layer.x))
    return net.cast(above, onnx_ir.DataType.FLOAT)


@importer("Dropout", "Split", "Noise")
def pass_on(layer: Layer) -> list[Value]:
    """The input, under each of the layer's names."""
    return [layer.x] * layer.tops


@importer("Softmax", "SoftmaxWithLoss")
def softmax(layer: Layer) -> list[Value]:
    """Softmax along `axis`; of the loss, what it compares with the labels (its second top, if listed, is that too)."""
    axis = layer.axis(layer.x, layer.message.softmax_param.axis)
    return [layer.net.op("Softmax", layer.x, axis=axis)] * max(layer.tops, 1)


@importer("Parameter")
def parameter(layer: Layer) -> Value:
    """A learned blob as a value."""
    return layer.net.op("Identity", layer.weight(0, tuple(layer.message.parameter_param.shape.dim), "values"))


@importer("DummyData")
def dummy_data(layer: Layer) -> list[Value]:
    """Constants; fillers that draw at random are refused."""
    p = layer.message.dummy_data_param
    shapes = [tuple(shape.dim) for shape in p.shape] or list(zip(p.num, p.channels, p.height, p.width, strict=True))
    return [_filled(layer, p, shapes, i) for i in range(layer.tops)]


def _filled(layer: Layer, p: Any, shapes: list[tuple[int, ...]], i: int) -> Value:
    filler = p.data_filler[min(i, len(p.data_filler) - 1)] if p.data_filler else None
    if filler is not None and filler.type != "constant":
        raise UnsupportedOperatorError(f"data filler {filler.type!r}; only 'constant' is the same every time")
    shape = shapes[min(i, len(shapes) - 1)]
    layer.limit(math.prod(shape), "the constant")
    return layer.net.op("Identity", layer.net.const(np.full(shape, filler.value if filler else 0, np.float32)))


def scaled(layer: Layer, x: Value, scale: float, shift: float) -> Value:
    """shift + scale * x."""
    net = layer.net
    x = x if scale == 1 else net.op("Mul", x, net.scalar(scale, x))
    return x if shift == 0 else net.op("Add", x, net.scalar(shift, x))
