"""TensorFlow's StridedSlice with its five masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magicmind.errors import ShapeError
from magicmind.facade.nodes.row import Call, Emitter, Row, Value
from magicmind.facade.status import Refused

_MOST = int(np.iinfo(np.int64).max)
_MASKS = ("begin_mask", "end_mask", "shrink_axis_mask", "ellipsis_mask", "new_axis_mask")


@dataclass(frozen=True)
class _Places:
    """Which entries of begin and end cut an axis of the input, which axis, and where new axes are in the result."""

    entries: list[int]
    axes: list[int]
    new: list[int]


def _strided_slice(e: Emitter, c: Call) -> Value:
    """Along the first axes unless others are said, or an ellipsis leaves some out."""
    begin, end = c.i64("begin"), c.i64("end")
    count = e.shape(begin)[0]
    masks = {n: c.setting(n, int) for n in _MASKS}
    if not isinstance(count, int):
        raise Refused("how many axes are cut has to be known")
    strides = e.ints(*[1] * count) if c["strides"] is None else c.i64("strides")
    places = _places(e, c, count, masks)
    shrunk = {
        axis: i for i, axis in zip(places.entries, places.axes, strict=True) if masks["shrink_axis_mask"] >> i & 1
    }
    cut = {axis: i for i, axis in zip(places.entries, places.axes, strict=True) if axis not in shrunk}
    found = c["input"]
    if cut:
        entries = list(cut.values())
        first, last, steps = (_chosen(e, value, entries, count) for value in (begin, end, strides))
        first, last = _unmasked(e, masks, entries, first, last, steps)
        found = e.op("Slice", found, first, last, e.ints(*cut), steps)
    for axis, i in sorted(shrunk.items(), reverse=True):
        found = e.op("Gather", found, e.op("Gather", begin, e.const(i, np.int64), axis=0), axis=axis)
    return e.unsqueeze(found, *places.new)


def _unmasked(
    e: Emitter, masks: dict[str, int], entries: Sequence[int], begin: Value, end: Value, strides: Value
) -> tuple[Value, Value]:
    """Begin and end, from one end of the axis to the other where they are masked."""
    from_start, to_end = ([bool(masks[n] >> i & 1) for i in entries] for n in ("begin_mask", "end_mask"))
    if not any(from_start) and not any(to_end):
        return begin, end
    backward = e.op("Less", strides, e.ints(0))
    most, least = e.ints(_MOST), e.ints(-_MOST)
    return (
        _unless(e, from_start, begin, e.op("Where", backward, most, e.ints(0))),
        _unless(e, to_end, end, e.op("Where", backward, least, most)),
    )


def _places(e: Emitter, c: Call, count: int, masks: dict[str, int]) -> _Places:
    """Raises Refused for an ellipsis or new axes beside axes that are said, ShapeError for too many entries."""
    ellipsis, new_axes, rank = masks["ellipsis_mask"], masks["new_axis_mask"], e.rank(c["input"])
    if c["axis"] is not None:
        if ellipsis or new_axes:
            raise Refused("strided_slice: ellipsis_mask and new_axis_mask are for calls without axes")
        return _Places(list(range(count)), [a + rank if a < 0 else a for a in c.numbers("axis")], [])
    if ellipsis & (ellipsis - 1):
        raise Refused(f"strided_slice: set_ellipsis_mask({ellipsis}) has more than one bit")
    cut = [i for i in range(count) if not (ellipsis | new_axes) >> i & 1]
    if len(cut) > rank:
        raise ShapeError(f"strided_slice: {len(cut)} axes are cut of a tensor that has {rank}")
    places, axis, at = _Places([], [], []), 0, 0
    for i in range(count):
        if ellipsis >> i & 1:
            axis, at = axis + rank - len(cut), at + rank - len(cut)
        elif new_axes >> i & 1:
            places.new.append(at)
            at += 1
        else:
            places.entries.append(i)
            places.axes.append(axis)
            axis, at = axis + 1, at + (not masks["shrink_axis_mask"] >> i & 1)
    return places


def _chosen(e: Emitter, value: Value, entries: Sequence[int], count: int) -> Value:
    return value if len(entries) == count else e.op("Gather", value, e.ints(*entries), axis=0)


def _unless(e: Emitter, mask: Sequence[bool], given: Value, masked: Value) -> Value:
    """Per axis what was given, or where the mask is set the other."""
    return e.op("Where", e.const(mask, np.bool_), masked, given)


ROWS: Sequence[Row] = (
    Row("strided_slice", "input begin end strides? .axis?", _strided_slice, dict.fromkeys(_MASKS, 0)),
)
