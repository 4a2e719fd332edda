"""Rows joined by the numbers of their segments, and counts of numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.ops.emitter import Value

_INT32, _INT64, _FLOAT = onnx_ir.DataType.INT32, onnx_ir.DataType.INT64, onnx_ir.DataType.FLOAT
_WAYS = {"Sum": "add", "Mean": "add", "SqrtN": "add", "Max": "max", "Min": "min", "Prod": "mul"}


@importer("UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd")
def unsorted_segments(c: Call) -> Value:
    """ScatterND into as many rows as there are segments, and one more for negative numbers."""
    lead = c.rank(1)
    rest = [d if isinstance(d, int) else c.net.size(d) for d in c.shape()[lead:]]
    rows = c.x if lead == 1 else c.net.reshape(c.x, -1, *rest)
    numbers = c.int64(c.value(1)) if lead == 1 else c.net.reshape(c.int64(c.value(1)), -1)
    return _joined(c, c.node.op.removeprefix("UnsortedSegment"), rows, numbers, c.vector(c.value(2)))


def _joined(c: Call, way: str, rows: Value, numbers: Value, count: Value) -> Value:
    """[count, ...]: rows [n, ...] joined by numbers (int64 [n]); `count` is int64 [1]."""
    net, dtype = c.net, c.net.type(rows).dtype.numpy()
    lowest, highest = (
        (np.finfo(dtype).min, np.finfo(dtype).max) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    start = {"Max": lowest, "Min": highest, "Prod": 1}.get(way, 0)
    safe = net.op("Where", net.op("Less", numbers, net.const(0, np.int64)), count, numbers)
    more = net.op("Add", count, net.ints(1))
    sizes = [d if isinstance(d, int) else net.size(d) for d in net.shape(rows)[1:]]
    empty = net.op("ConstantOfShape", net.sizes(more, *sizes), value=onnx_ir.Tensor(np.full(1, start, dtype)))
    filled = net.op("ScatterND", empty, net.unsqueeze(safe, 1), rows, reduction=_WAYS[way])
    return net.op("Slice", filled, net.ints(0), count, net.ints(0))


@importer("SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin", "SegmentProd")
def segments(c: Call) -> Value:
    """Rows whose numbers are in order: slices where these are constant, else by ScatterND."""
    way = c.node.op.removeprefix("Segment")
    ids = c.known(c.value(1))
    if ids is not None and set(ids.reshape(-1).tolist()) == set(range(int(ids.max(initial=-1)) + 1)):
        return _sliced(c, f"Reduce{way}", ids.reshape(-1))
    return _by_number(c, way, c.x, c.int64(c.value(1)))


def _sliced(c: Call, kind: str, ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Value:
    net, parts = c.net, []
    for i in range(int(ids.max(initial=-1)) + 1):
        rows = np.flatnonzero(ids == i)
        part = net.slice(c.x, 0, int(rows[0]), int(rows[-1]) + 1)
        parts.append(net.op(kind, part, net.ints(0), keepdims=1))
    return parts[0] if len(parts) == 1 else net.op("Concat", *parts, axis=0)


def _by_number(c: Call, way: str, rows: Value, numbers: Value) -> Value:
    """As many rows as the last number says; segments of no row are 0, of products 1."""
    net = c.net
    last = net.op("ReduceMax", net.op("Concat", numbers, net.ints(-1), axis=0), net.ints(0), keepdims=1)
    count = net.op("Add", last, net.ints(1))
    found = _joined(c, way, rows, numbers, count)
    if way in ("Sum", "Prod"):
        return found
    rank = net.rank(rows)
    ones = net.op("Expand", net.scalar(1, rows), net.dim(rows, 0))
    members = net.unsqueeze(_joined(c, "Sum", ones, numbers, count), *range(1, rank))
    if way in ("Mean", "SqrtN"):
        by = net.op("Max", members, net.scalar(1, members))
        return net.op("Div", found, net.op("Sqrt", by) if way == "SqrtN" else by)
    return net.op("Where", net.op("Equal", members, net.scalar(0, members)), net.scalar(0, found), found)


@importer("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN")
def sparse_segments(c: Call) -> Value:
    """The rows that input 1 names, joined by input 2."""
    rows = c.net.op("Gather", c.x, c.int64(c.value(1)), axis=0)
    return _by_number(c, c.node.op.removeprefix("SparseSegment"), rows, c.int64(c.value(2)))


# -------------------------------------------------------------------------------------------------- counts of numbers


def _counted(c: Call, flags: Value, axis: int, dtype: onnx_ir.DataType) -> Value:
    """How many flags hold along an axis."""
    found = c.net.op("ReduceSum", c.net.cast(flags, _INT32), c.net.ints(axis), keepdims=0)
    return c.net.cast(found, dtype)


@importer("Bucketize")
def bucketize(c: Call) -> Value:
    """How many boundaries are not above each number."""
    net = c.net
    edges = net.const(np.asarray(c.attr("boundaries", []), np.float32))
    x = net.unsqueeze(net.cast(c.x, _FLOAT), c.rank())
    return _counted(c, net.op("GreaterOrEqual", x, edges), c.rank(), _INT32)


@importer("LowerBound", "UpperBound")
def search(c: Call) -> Value:
    """How many of the sorted numbers [N, n] are below (or not above) each of [N, m]."""
    net = c.net
    ordered, x = net.unsqueeze(c.x, 1), net.unsqueeze(c.value(1), 2)
    flags = net.op("Less" if c.node.op == "LowerBound" else "LessOrEqual", ordered, x)
    return _counted(c, flags, 2, c.node.dtype("out_type") if c.node.has("out_type") else _INT32)


@importer("Bincount", "DenseBincount")
def bincount(c: Call) -> Value:
    """How often each number below a limit is there, or the sum of the weights beside it."""
    net, x, dense = c.net, c.int64(c.x), c.node.op == "DenseBincount"
    if not dense and c.rank() > 1:
        x = net.reshape(x, -1)
    rank, weights = net.rank(x), c.value(2)
    limit = net.reshape(c.int64(c.value(1)), 1)
    same = net.op("Equal", net.unsqueeze(x, rank), net.count_up(limit))
    t = net.type(weights)
    if dense and c.attr("binary_output", False):
        any_ = net.op("ReduceMax", net.cast(same, _INT32), net.ints(rank - 1), keepdims=0)
        return net.cast(any_, t.dtype)
    if 0 in t.dims:
        return _counted(c, same, rank - 1, t.dtype)
    given = net.unsqueeze(weights if dense or c.rank() == 1 else net.reshape(weights, -1), rank)
    return net.op("ReduceSum", net.op("Mul", net.cast(same, t.dtype), given), net.ints(rank - 1), keepdims=0)
