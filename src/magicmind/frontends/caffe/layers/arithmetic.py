"""Arithmetic of several blobs and along axes: Eltwise, Scale, Bias, Axpy, Reduction, ArgMax."""

from __future__ import annotations

import math

import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.frontends.caffe.layer import Layer, importer
from magicmind.frontends.caffe.layers.activation import scaled
from magicmind.ops.emitter import Value

_ELTWISE = ("Mul", "Add", "Max")
_REDUCE = {1: "ReduceSum", 2: "ReduceL1", 3: "ReduceSumSquare", 4: "ReduceMean"}


@importer("Eltwise")
def eltwise(layer: Layer) -> Value:
    """Product, sum with coefficients, or maximum of blobs of one shape."""
    p, net = layer.message.eltwise_param, layer.net
    values = list(layer.inputs)
    shapes = {net.shape(value) for value in values}
    if len(shapes) != 1 and all(net.type(value).is_static for value in values):
        raise ModelFormatError(f"the bottoms differ in shape: {', '.join(sorted(map(str, shapes)))}")
    op = _ELTWISE[p.operation]
    if p.coeff and op == "Add":
        if len(p.coeff) != len(values):
            raise ModelFormatError(f"{len(p.coeff)} coefficients for {len(values)} bottoms")
        values = [scaled(layer, value, c, 0) for value, c in zip(values, p.coeff, strict=True)]
    result = values[0]
    for value in values[1:]:
        result = net.op(op, result, value)
    return result if len(values) > 1 else net.op("Identity", result)


@importer("Scale")
def scale(layer: Layer) -> Value:
    """x * scale (+ bias): factors are parameters, or the second bottom, laid along the axes from `axis` on."""
    p, net = layer.message.scale_param, layer.net
    shape = _covered(layer, p.axis, p.num_axes)
    learned = len(layer.inputs) == 1
    factor = layer.weight(0, shape, "factors") if learned else layer.bottom(1)
    y = net.op("Mul", layer.x, along(layer, factor, p.axis))
    if not p.bias_term:
        return y
    bias_shape = shape if learned else tuple(layer.fixed(d, "the bias") for d in net.shape(factor))
    return net.op("Add", y, along(layer, layer.weight(int(learned), bias_shape, "bias"), p.axis))


@importer("Bias")
def bias(layer: Layer) -> Value:
    """x + bias, which is a parameter or the second bottom."""
    p = layer.message.bias_param
    learned = len(layer.inputs) == 1
    shift = layer.weight(0, _covered(layer, p.axis, p.num_axes), "bias") if learned else layer.bottom(1)
    return layer.net.op("Add", layer.x, along(layer, shift, p.axis))


def _covered(layer: Layer, axis: int, count: int) -> tuple[int, ...]:
    """The shape of a parameter that covers `count` axes (all that are left for -1) from `axis` on."""
    if len(layer.inputs) > 1:
        return ()
    shape = layer.net.shape(layer.x)
    first = layer.axis(layer.x, axis) if count else 0
    stop = len(shape) if count == -1 else first + count
    return tuple(layer.fixed(d, f"axis {i}") for i, d in enumerate(shape) if first <= i < stop)


def along(layer: Layer, value: Value, axis: int) -> Value:
    """A value whose first axis lies along `axis` of the layer's input, ready to broadcast."""
    net, rank = layer.net, layer.net.rank(value)
    if rank == 0:
        return value
    trailing = net.rank(layer.x) - layer.axis(layer.x, axis) - rank
    if trailing < 0:
        raise ModelFormatError(f"{rank} axes of factors do not fit behind axis {axis} of {net.rank(layer.x)}")
    if trailing == 0:
        return value
    if value.const_value is not None:
        array = value.const_value.numpy()
        return net.const(array.reshape(*array.shape, *[1] * trailing))
    return net.unsqueeze(value, *range(rank, rank + trailing))


@importer("Axpy")
def axpy(layer: Layer) -> Value:
    """a * x + y with a factor for each channel; a is [N, C] or [N, C, 1, 1]."""
    net = layer.net
    factor, x, y = (layer.bottom(i) for i in range(3))
    missing = net.rank(x) - net.rank(factor)
    factor = net.unsqueeze(factor, *range(net.rank(factor), net.rank(factor) + missing)) if missing else factor
    return net.op("Add", net.op("Mul", factor, x), y)


@importer("Reduction")
def reduction(layer: Layer) -> Value:
    """Sum, sum of magnitudes or squares, or mean over `axis` and all behind it, times a coefficient."""
    p, net = layer.message.reduction_param, layer.net
    axes = net.ints(*range(layer.axis(layer.x, p.axis), net.rank(layer.x)))
    return scaled(layer, net.op(_REDUCE[p.operation], layer.x, axes, keepdims=0), p.coeff, 0)


@importer("ArgMax")
def arg_max(layer: Layer) -> Value:
    """Places of the largest elements as floats, along an axis or in all behind the batch, with or as their values."""
    p, net = layer.message.argmax_param, layer.net
    if p.HasField("axis"):
        values, places = _top(layer, layer.x, p.top_k, layer.axis(layer.x, p.axis))
        return values if p.out_max_val else places
    flat = net.reshape(layer.x, *layer.leading(layer.x, 1), 1, math.prod(_rest(layer)))
    values, places = _top(layer, flat, p.top_k, 2)
    return net.op("Concat", places, values, axis=1) if p.out_max_val else places


def _rest(layer: Layer) -> list[int]:
    return [layer.fixed(d, f"axis {i}") for i, d in enumerate(layer.net.shape(layer.x)) if i]


def _top(layer: Layer, x: Value, count: int, axis: int) -> tuple[Value, Value]:
    """Values and places; of equal elements Caffe takes the last first, ONNX only where there is one place to give."""
    net = layer.net
    if count == 1:
        places = net.op("ArgMax", x, axis=axis, keepdims=1, select_last_index=1)
        values = net.op("ReduceMax", x, net.ints(axis), keepdims=1)
    else:
        values, places = net.ops("TopK", x, net.ints(count), count=2, axis=axis)
    return values, net.cast(places, onnx_ir.DataType.FLOAT)
