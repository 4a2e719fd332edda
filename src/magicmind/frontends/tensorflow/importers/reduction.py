"""Reductions over axes, running sums, segments."""

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
    if c.attr("reverse", False) or c.attr("exclusive", False):
        raise c.unsupported("exclusive or reverse running products")
    axis = c.axis(1, c.rank())
    size = c.fixed(c.shape()[axis], "the axis of a running product")
    step = 1
    while step < size:
        pads = [0] * (2 * c.rank())
        pads[axis] = step
        shifted = net.op("Pad", net.slice(x, axis, 0, size - step), net.ints(*pads), net.scalar(1, x))
        x, step = net.op("Mul", x, shifted), 2 * step
    return x


@importer("SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin", "UnsortedSegmentSum")
def segments(c: Call) -> Value:
    """Rows joined by number, where the numbers are constant (of sums: where their count is)."""
    net, op = c.net, c.node.op
    if op == "UnsortedSegmentSum":
        count = c.number(2, "the number of segments")
        lead = c.rank(1)
        data = net.reshape(c.x, -1, *(c.fixed(d, "the size of a row") for d in c.shape()[lead:])) if lead != 1 else c.x
        zero = onnx_ir.Tensor(np.zeros(1, net.type(data).dtype.numpy()))
        sizes = net.shape_vector(count, *net.shape(data)[1:])
        empty = net.op("ConstantOfShape", sizes, value=zero)
        return net.op("ScatterND", empty, net.reshape(c.int64(c.value(1)), -1, 1), data, reduction="add")
    ids = c.const(1, "the numbers of the segments").reshape(-1)
    kind = f"Reduce{op.removeprefix('Segment')}"
    parts = []
    for i in range(int(ids.max(initial=-1)) + 1):
        rows = np.flatnonzero(ids == i)
        if not len(rows):
            raise c.unsupported(f"segment {i} is empty")
        part = net.slice(c.x, 0, int(rows[0]), int(rows[-1]) + 1)
        parts.append(net.op(kind, part, net.ints(0), keepdims=1))
    return parts[0] if len(parts) == 1 else net.op("Concat", *parts, axis=0)
