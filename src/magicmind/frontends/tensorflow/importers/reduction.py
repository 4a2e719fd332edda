"""Reductions over axes, running sums and products."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.layout import axis_first, last, twin
from magicmind.ops.emitter import Value

_REDUCTIONS = {"Sum": "ReduceSum", "Mean": "ReduceMean", "Max": "ReduceMax", "Min": "ReduceMin", "Prod": "ReduceProd"}


def reduce(c: Call, op_type: str, x: Value) -> Value:
    """`op_type` over the axes that input 1 names; with the channels first where nothing is to be turned for it."""
    net, rank = c.net, c.rank()
    axes = sorted({c.axis_of(a, rank) for a in c.ints(1, "the axes")})
    keep = int(bool(c.attr("keep_dims", False) or c.attr("keepdims", False)))
    if not axes:
        return x
    found = twin(c, x)
    if found is not None:
        moved = net.ints(*(axis_first(a, rank) for a in axes))
        if keep:
            return last(c, net.op(op_type, found, moved, keepdims=1))
        if rank - 1 in axes or set(range(1, rank - 1)) <= set(axes):  # what is left has the same order
            return net.op(op_type, found, moved, keepdims=0)
    return net.op(op_type, x, net.ints(*axes), keepdims=keep)


@importer(*_REDUCTIONS)
def reduction(c: Call) -> Value:
    """ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd."""
    return reduce(c, _REDUCTIONS[c.node.op], c.x)


@importer("EuclideanNorm")
def euclidean_norm(c: Call) -> Value:
    """ReduceL2."""
    return reduce(c, "ReduceL2", c.x)


@importer("All", "Any")
def all_any(c: Call) -> Value:
    """The smallest or largest of numbers that are 0 or 1."""
    numbers = c.net.cast(c.x, onnx_ir.DataType.INT32)
    y = reduce(c, "ReduceMin" if c.node.op == "All" else "ReduceMax", numbers)
    return c.net.cast(y, onnx_ir.DataType.BOOL)


@importer("Cumsum")
def cumsum(c: Call) -> Value:
    """CumSum."""
    axis = c.net.const(c.axis(1, c.rank()), np.int64)
    flags: dict[str, Any] = {name: int(bool(c.attr(name, False))) for name in ("exclusive", "reverse")}
    return c.net.op("CumSum", c.x, axis, **flags)


@importer("Cumprod")
def cumprod(c: Call) -> Value:
    """Products of all before, one step for each power of two."""
    net, x = c.net, c.x
    axis = c.axis(1, c.rank())
    size = c.fixed(c.shape()[axis], "the axis of a running product")
    reverse = bool(c.attr("reverse", False))
    if c.attr("exclusive", False) and size:
        x = _moved(c, x, axis, 1, size, reverse)
    step = 1
    while step < size:
        x, step = net.op("Mul", x, _moved(c, x, axis, step, size, reverse)), 2 * step
    return x


def _moved(c: Call, x: Value, axis: int, step: int, size: int, back: bool) -> Value:
    """The input moved along an axis, with ones at the free end."""
    net, pads = c.net, [0] * (2 * c.rank())
    pads[axis + c.rank() * back] = step
    kept = net.slice(x, axis, step if back else 0, size if back else size - step)
    return net.op("Pad", kept, net.ints(*pads), net.scalar(1, x))
