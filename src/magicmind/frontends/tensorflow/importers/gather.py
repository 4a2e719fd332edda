"""Elements by position: Gather, Scatter, TopK, Where and the like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.ops.emitter import Value

_INT32, _INT64 = onnx_ir.DataType.INT32, onnx_ir.DataType.INT64


@importer("Gather", "GatherV2", "ResourceGather")
def gather(c: Call) -> Value:
    """Gather, with batch axes as GatherND."""
    net = c.net
    axis = c.axis(2, c.rank()) if len(c.inputs) > 2 else 0
    batch = int(c.attr("batch_dims", 0))
    if batch < 0:
        batch += c.rank(1)
    if not batch:
        return net.op("Gather", c.x, c.value(1), axis=axis)
    return _gather_in_batches(c, axis, batch)


def _gather_in_batches(c: Call, axis: int, batch: int) -> Value:
    """x [B..., outer..., size, inner...], indices [B..., I...] -> [B..., outer..., I..., inner...]."""
    net, x, indices = c.net, c.x, c.int64(c.value(1))
    rank, more = c.rank(), c.rank(1) - batch
    order = [*range(batch), axis, *(i for i in range(batch, rank) if i != axis)]
    turned = net.op("Transpose", x, perm=order) if order != list(range(rank)) else x
    found = net.op("GatherND", turned, net.unsqueeze(indices, c.rank(1)), batch_dims=batch)
    outer = axis - batch
    if not outer:
        return found
    back = [
        *range(batch),
        *range(batch + more, batch + more + outer),
        *range(batch, batch + more),
        *range(batch + more + outer, net.rank(found)),
    ]
    return net.op("Transpose", found, perm=back)


@importer("GatherNd")
def gather_nd(c: Call) -> Value:
    """GatherND."""
    return c.net.op("GatherND", c.x, c.int64(c.value(1)))


@importer("ScatterNd")
def scatter_nd(c: Call) -> Value:
    """ScatterND into zeros; places that are named twice add up."""
    net, updates = c.net, c.value(1)
    zero = onnx_ir.Tensor(np.zeros(1, net.type(updates).dtype.numpy()))
    empty = net.op("ConstantOfShape", c.vector(c.value(2)), value=zero)
    return net.op("ScatterND", empty, c.int64(c.x), updates, reduction="add")


_SCATTERS = {"Update": None, "Add": "add", "Min": "min", "Max": "max"}


@importer("TensorScatterUpdate", "TensorScatterAdd", "TensorScatterMin", "TensorScatterMax", "TensorScatterSub")
def tensor_scatter(c: Call) -> Value:
    """ScatterND."""
    kind, updates = c.node.op.removeprefix("TensorScatter"), c.value(2)
    if kind == "Sub":
        kind, updates = "Add", c.net.op("Neg", updates)
    return c.net.op("ScatterND", c.x, c.int64(c.value(1)), updates, reduction=_SCATTERS[kind])


@importer("TopK", "TopKV2")
def top_k(c: Call) -> list[Value]:
    """TopK along the last axis."""
    k = c.net.ints(int(c.attr("k", 1))) if c.node.op == "TopK" else c.vector(c.value(1))
    values, indices = c.net.ops("TopK", c.x, k, count=2, axis=-1, sorted=1)
    return [values, c.as_type(indices, "index_type", _INT32)]


@importer("InTopK", "InTopKV2")
def in_top_k(c: Call) -> Value:
    """Whether the target is among the k largest: fewer than k are larger."""
    net, targets = c.net, c.int64(c.value(1))
    k = net.const(int(c.attr("k", 1)), np.int64) if c.node.op == "InTopK" else c.int64(c.value(2))
    own = net.op("GatherElements", c.x, net.unsqueeze(targets, 1), axis=1)
    larger = net.cast(net.op("Greater", c.x, own), _INT64)
    return net.op("Less", net.op("ReduceSum", larger, net.ints(1), keepdims=0), k)


@importer("ArgMax", "ArgMin")
def arg_extremum(c: Call) -> Value:
    """ArgMax or ArgMin; the first of equal ones."""
    from magicmind.frontends.tensorflow.layout import axis_first, twin

    axis = c.axis(1, c.rank())
    found = twin(c, c.x)
    if found is not None and axis == c.rank() - 1:  # the order of the other axes is the same
        y = c.net.op(c.node.op, found, axis=axis_first(axis, c.rank()), keepdims=0)
    else:
        y = c.net.op(c.node.op, c.x, axis=axis, keepdims=0)
    return c.as_type(y, "output_type", _INT64)


@importer("Where")
def where(c: Call) -> Value:
    """The positions of what is not zero, one row each."""
    return c.net.op("Transpose", c.net.op("NonZero", c.x), perm=[1, 0])


@importer("Unique", "UniqueV2", "UniqueWithCounts")
def unique(c: Call) -> list[Value]:
    """Unique in the order of the first occurrence."""
    axis = None
    if c.node.op == "UniqueV2":
        axes = c.ints(1, "the axis")
        axis = axes[0] if axes and c.rank() > 1 else None
    values, _, inverse, counts = c.net.ops("Unique", c.x, count=4, axis=axis, sorted=0)
    return [values, c.as_type(inverse, "out_idx", _INT32), c.as_type(counts, "out_idx", _INT32)]


@importer("InvertPermutation")
def invert_permutation(c: Call) -> Value:
    """The order that takes back another."""
    array = c.known(c.x)
    if array is not None:
        return c.net.const(np.argsort(array).astype(array.dtype))
    net = c.net
    order = net.op("Neg", c.int64(c.x))
    _, indices = net.ops("TopK", order, net.dim(order, 0), count=2, axis=0)
    return net.cast_like(indices, c.x)


@importer("DynamicPartition")
def dynamic_partition(c: Call) -> list[Value]:
    """The rows of each number, one tensor for each: Compress."""
    net, lead = c.net, c.rank(1)
    numbers = net.reshape(c.int64(c.value(1)), -1)
    rest = [d if isinstance(d, int) else net.size(d) for d in c.shape()[lead:]]
    rows = c.x if lead == 1 else net.reshape(c.x, -1, *rest)
    count = int(c.attr("num_partitions", 1))
    return [net.op("Compress", rows, net.op("Equal", numbers, net.const(i, np.int64)), axis=0) for i in range(count)]


@importer("DynamicStitch", "ParallelDynamicStitch")
def dynamic_stitch(c: Call) -> Value:
    """Rows put to places: Gather where these are known, else ScatterND."""
    count, net, rows = len(c.inputs) // 2, c.net, []
    for i in range(count):
        data, lead = c.value(count + i), c.rank(i)
        rest = net.shape(data)[lead:]
        rows.append(net.reshape(data, -1, *(d if isinstance(d, int) else net.size(d) for d in rest)))
    given = [c.known(c.value(i)) for i in range(count)]
    known = [array.reshape(-1) for array in given if array is not None]
    if len(known) < count:
        return _scattered_rows(c, rows)
    places = np.concatenate(known)
    latest = [int(np.flatnonzero(places == p)[-1]) for p in range(int(places.max(initial=-1)) + 1)]
    return net.op("Gather", _end_to_end(c, rows), net.ints(*latest), axis=0)


def _end_to_end(c: Call, parts: Sequence[Value]) -> Value:
    return parts[0] if len(parts) == 1 else c.net.op("Concat", *parts, axis=0)


def _scattered_rows(c: Call, rows: Sequence[Value]) -> Value:
    """The rows at the places that the run tells, as many as the largest of these says."""
    net = c.net
    places = [net.reshape(c.int64(c.value(i)), -1) for i in range(len(rows))]
    last = net.op("ReduceMax", _end_to_end(c, [*places, net.ints(-1)]), net.ints(0), keepdims=1)
    sizes = [d if isinstance(d, int) else net.size(d) for d in net.shape(rows[0])[1:]]
    full = net.sizes(net.op("Add", last, net.ints(1)), *sizes)
    result = net.op("ConstantOfShape", full, value=onnx_ir.Tensor(np.zeros(1, net.type(rows[0]).dtype.numpy())))
    for at, part in zip(places, rows, strict=True):
        result = net.op("ScatterND", result, net.unsqueeze(at, 1), part)
    return result
