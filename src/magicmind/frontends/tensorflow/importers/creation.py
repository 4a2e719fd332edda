"""Tensors made from sizes and numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.ir.types import TensorType
from magicmind.ops.emitter import Value


@importer("Fill")
def fill(c: Call) -> Value:
    """ConstantOfShape, or Expand of a number that is computed."""
    array = c.known(c.value(1))
    sizes = c.vector(c.value(0))
    if array is None:
        return c.net.op("Expand", c.value(1), sizes)
    return c.net.op("ConstantOfShape", sizes, value=onnx_ir.Tensor(array.reshape(1)))


@importer("ZerosLike")
def zeros_like(c: Call) -> Value:
    """Zeros of the shape of the input."""
    return _like(c, 0)


@importer("OnesLike")
def ones_like(c: Call) -> Value:
    """Ones of the shape of the input."""
    return _like(c, 1)


def _like(c: Call, number: int) -> Value:
    t: TensorType = c.net.type(c.x)
    full = onnx_ir.Tensor(np.full(1, number, t.dtype.numpy()))
    return c.net.op("ConstantOfShape", c.net.shape_vector(*t.dims) if t.rank else c.net.const([], np.int64), value=full)


@importer("Range")
def range_(c: Call) -> Value:
    """Range."""
    return c.net.op("Range", *(c.net.reshape(v) if c.net.rank(v) else v for v in c.values[:3]))


@importer("LinSpace")
def lin_space(c: Call) -> Value:
    """Numbers at equal distances, the last among them."""
    net, start, stop = c.net, c.x, c.value(1)
    count = c.number(2, "the number of steps")
    steps = net.const(np.arange(count) / max(count - 1, 1), net.type(start).dtype.numpy())
    return net.op("Add", start, net.op("Mul", steps, net.op("Sub", stop, start)))


@importer("OneHot")
def one_hot(c: Call) -> Value:
    """OneHot; positions outside give no one."""
    net = c.net
    depth, on, off = c.value(1), c.value(2), c.value(3)
    axis = int(c.attr("axis", -1))
    outer = c.int64(c.x)
    count = c.number(1, "the depth")
    inside = net.op(
        "And",
        net.op("GreaterOrEqual", outer, net.const(0, np.int64)),
        net.op("Less", outer, net.const(count, np.int64)),
    )
    values = net.op("Concat", net.reshape(off, 1), net.reshape(on, 1), axis=0)
    safe = net.op("Where", inside, outer, net.const(count, np.int64))  # one more, cut off again
    wide = net.op("OneHot", safe, net.const(count + 1, np.int64), values, axis=axis)
    at = axis % net.rank(wide) if axis >= 0 else net.rank(wide) - 1
    del depth
    return net.slice(wide, at, 0, count)


@importer("RandomUniform", "RandomStandardNormal", "TruncatedNormal", "RandomUniformInt", "Multinomial")
def random(c: Call) -> Value:
    """Refused: its result cannot be compared with anything."""
    raise c.unsupported("draws random numbers; freeze the network for inference")
