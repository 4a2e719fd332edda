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


@importer("MatrixDiag", "MatrixDiagV2", "MatrixDiagV3", "Diag")
def diagonal(c: Call) -> Value:
    """A matrix with the input on its diagonal."""
    net = c.net
    _need_main(c)
    if c.node.op == "Diag" and c.rank() != 1:
        raise c.unsupported(f"a diagonal of rank {c.rank()}")
    size = c.fixed(c.shape()[-1], "the size of the diagonal")
    eye = net.const(np.eye(size), net.type(c.x).dtype.numpy())
    return net.op("Mul", net.unsqueeze(c.x, c.rank()), eye)


@importer("MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3")
def diagonal_part(c: Call) -> Value:
    """The diagonal of a square matrix: what is left of it, added up along the rows."""
    net = c.net
    _need_main(c)
    rows, columns = (c.fixed(d, "the size of the matrix") for d in c.shape()[-2:])
    if rows != columns:
        raise c.unsupported("the diagonal of a matrix that is not square")
    kept = net.op("Where", net.const(np.eye(rows, dtype=bool)), c.x, net.scalar(0, c.x))
    return net.op("ReduceSum", kept, net.ints(-1), keepdims=0)


def _need_main(c: Call) -> None:
    """Newer versions name a diagonal: only the main one is supported."""
    if len(c.inputs) > 1 and any(c.ints(1, "the diagonal")):
        raise c.unsupported("another diagonal than the main one")


@importer("MatrixBandPart")
def band_part(c: Call) -> Value:
    """What lies within some diagonals; the rest is zero."""
    net = c.net
    lower, upper = c.number(1, "num_lower"), c.number(2, "num_upper")
    rows, columns = (c.fixed(d, "the size of the matrix") for d in c.shape()[-2:])
    distance = np.arange(columns)[None, :] - np.arange(rows)[:, None]
    kept = ((lower < 0) | (-distance <= lower)) & ((upper < 0) | (distance <= upper))
    return net.op("Where", net.const(kept), c.x, net.scalar(0, c.x))


@importer("RandomUniform", "RandomStandardNormal", "TruncatedNormal", "RandomUniformInt", "Multinomial")
def random(c: Call) -> Value:
    """Refused: its result cannot be compared with anything."""
    raise c.unsupported("draws random numbers; freeze the network for inference")
