"""Operators that compare positions: Trilu, EyeLike, OneHot, ReverseSequence, as ranges and comparisons."""

from __future__ import annotations

import numpy as np
from onnx_ir import DataType

from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import Op, normalise_axis

trilu = Op("Trilu")
eye_like = Op("EyeLike")
one_hot = Op("OneHot")
reverse_sequence = Op("ReverseSequence")


def _rows_and_columns(e: Expansion, x: Value) -> tuple[Value, Value]:
    """Row numbers [R, 1] and column numbers [1, C] of the last two axes."""
    return e.unsqueeze(e.count_up(e.dim(x, -2)), 1), e.unsqueeze(e.count_up(e.dim(x, -1)), 0)


@trilu.expand
def expand_trilu(e: Expansion) -> list[Value]:
    """Keeps column >= row + k (upper), or column <= row + k."""
    x = e.input(0)
    rows, columns = _rows_and_columns(e, x)
    if e.has(1):
        shift = e.input(1)
        rows = e.op("Add", rows, e.squeeze(shift, 0) if e.rank(shift) else shift)
    keep = e.op("GreaterOrEqual" if e.view.attr("upper", 1) else "LessOrEqual", columns, rows)
    return [e.op("Where", keep, x, e.scalar(0, x))]


@eye_like.expand
def expand_eye_like(e: Expansion) -> list[Value]:
    """Ones where column = row + k."""
    x = e.input(0)
    rows, columns = _rows_and_columns(e, x)
    shifted = e.op("Add", rows, e.const(e.view.attr("k", 0), np.int64))
    to = e.view.attr("dtype", 0)
    return [e.cast(e.op("Equal", columns, shifted), DataType(to) if to else e.type(x).dtype)]


@one_hot.expand
def expand_one_hot(e: Expansion) -> list[Value]:
    """`on` where the position along the new axis is the index; indices outside of -depth..depth-1 match none."""
    indices, depth, values = e.input(0), e.input(1), e.input(2)
    rank = e.rank(indices)
    axis = normalise_axis(e.view.attr("axis", -1), rank + 1)
    size = e.cast(e.squeeze(depth, 0) if e.rank(depth) else depth, DataType.INT64)
    wanted = e.cast(indices, DataType.INT64)
    counted = e.op("Where", e.op("Less", wanted, e.const(0, np.int64)), e.op("Add", wanted, size), wanted)
    positions = e.count_up(e.unsqueeze(size, 0))
    hit = e.op("Equal", e.unsqueeze(counted, axis), e.unsqueeze(positions, *range(1, rank - axis + 1)))
    off, on = (e.op("Gather", values, e.const(i, np.int64)) for i in (0, 1))
    return [e.op("Where", hit, on, off)]


@reverse_sequence.expand
def expand_reverse_sequence(e: Expansion) -> list[Value]:
    """Reads element length - 1 - t for t < length, t itself behind."""
    x, lengths = e.input(0), e.cast(e.input(1), DataType.INT64)
    time, batch = e.view.attr("time_axis", 0) % e.rank(x), e.view.attr("batch_axis", 1) % e.rank(x)
    steps = e.count_up(e.dim(x, time))
    per_batch = e.unsqueeze(lengths, 1) if batch == 0 else lengths
    per_step = steps if batch == 0 else e.unsqueeze(steps, 1)
    turned = e.op("Sub", e.op("Sub", per_batch, e.const(1, np.int64)), per_step)
    source = e.op("Where", e.op("Less", per_step, per_batch), turned, per_step)
    source = e.unsqueeze(source, *range(2, e.rank(x)))
    return [e.op("GatherElements", x, e.op("Expand", source, e.op("Shape", x)), axis=time)]
