"""Nodes that read from and write to computed places, and sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.facade.nodes.row import Call, Emitter, Row, Value, graph_type
from magicmind.facade.status import Refused


def _as_strided(e: Emitter, c: Call) -> Value:
    """The elements of the memory, beginning at an offset, in steps per axis (PyTorch's `as_strided`)."""
    steps, first = (_said(c, name) for name in ("stride", "storage_offset"))
    sizes, steps, offset = c.numbers("size"), [int(v) for v in np.ravel(steps)], int(np.ravel(first or 0)[0])
    if len(sizes) != len(steps) or min(sizes, default=1) < 0 or min(steps, default=0) < 0 or offset < 0:
        raise Refused(f"as_strided: size {sizes}, stride {steps} and offset {offset} do not fit together")
    places = np.full(sizes, offset, np.int64)
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
        places += (np.arange(size) * step).reshape([-1 if i == axis else 1 for i in range(len(sizes))])
    total = e.type(c["input"]).size
    if isinstance(total, int) and places.size and places.max() >= total:
        raise Refused(f"as_strided reads element {places.max()} of {total}")
    return e.op("Gather", e.reshape(c["input"], -1), e.const(places), axis=0)


def _said(c: Call, name: str) -> Any:
    """What the setter says, else the operand."""
    return c[name] if c.settings[name] is None else c.settings[name]


def _list_diff(e: Emitter, c: Call) -> Any:
    """The elements of x that are not in y, and where they are in x (TensorFlow's ListDiff)."""
    same = e.op("Equal", e.unsqueeze(c["x"], 1), e.unsqueeze(c["y"], 0))
    times = e.op("ReduceSum", e.cast(same, graph_type("INT64")), e.ints(1), keepdims=0)
    kept = e.op("Equal", times, e.const(0, np.int64))
    places = e.cast(e.count_up(e.dim(c["x"], 0)), graph_type("INT32"))
    return [e.op("Compress", value, kept, axis=0) for value in (c["x"], places)]


def _dynamic_stitch(e: Emitter, c: Call) -> Value:
    """Rows put to the places that indices say, later ones over earlier ones (TensorFlow's DynamicStitch). The result
    has as many rows as the greatest index says; those that no index names are zero."""
    if len(c["data"]) != len(c["indices"]) or not c["data"]:
        raise Refused(f"dynamic_stitch: {len(c['data'])} tensors with {len(c['indices'])} of indices")
    parts = [
        e.reshape(data, -1, *(e.dim(data, i) for i in range(e.rank(index), e.rank(data))))
        for data, index in zip(c["data"], c["indices"], strict=True)
    ]
    places, rows = _joined(e, [c.vector(index) for index in c["indices"]]), _joined(e, parts)
    known = _known(places)
    if known is not None and not known.size:
        return rows
    latest = _latest(e, places, e.dim(rows, 0)) if known is None else e.const(_latest_of(known), np.int64)
    found = e.op("Gather", rows, e.op("Max", latest, e.ints(0)), axis=0)
    if known is not None and known.max() + 1 == len(np.unique(known)):
        return found
    there = e.unsqueeze(e.op("GreaterOrEqual", latest, e.ints(0)), *range(1, e.rank(rows)))
    return e.op("Where", there, found, e.scalar(0, rows))


def _known(places: Value) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """The indices, where the network says them.  Raises Refused for one below zero."""
    from magicmind.ops.registry import contents_of

    found = contents_of(places)
    if found is None or not all(isinstance(v, (int, np.integer)) for v in found.flat):
        return None
    if found.size and found.min() < 0:
        raise Refused(f"dynamic_stitch: index {found.min()} is below zero")
    return found.astype(np.int64)


def _latest(e: Emitter, places: Value, count: Value) -> Value:
    """By place the last row that is put there, -1 for none: a maximum, so that no order of writing matters."""
    size = e.op("Add", e.op("ReduceMax", places, e.ints(0), keepdims=1), e.ints(1))
    none = e.op("Expand", e.ints(-1), size)
    return e.op("ScatterElements", none, places, e.count_up(count), axis=0, reduction="max")


def _latest_of(places: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    found = np.full(places.max() + 1, -1)
    np.maximum.at(found, places, np.arange(places.size))
    return found


def _joined(e: Emitter, parts: Sequence[Value]) -> Value:
    return parts[0] if len(parts) == 1 else e.op("Concat", *parts, axis=0)


def _matrix_band_part(e: Emitter, c: Call) -> Value:
    """What lies within so many diagonals below and above the main one, all for -1; the rest is zero (TensorFlow's)."""
    x = c["input"]
    rows, columns = (e.count_up(e.dim(x, axis)) for axis in (-2, -1))
    distance = e.op("Sub", e.unsqueeze(columns, 0), e.unsqueeze(rows, 1))
    zero = e.const(0, np.int64)

    def near(how_far: Value, limit: Value) -> Value:
        return e.op("Or", e.op("Less", limit, zero), e.op("LessOrEqual", how_far, limit))

    lower, upper = (e.cast(c.scalar(name), graph_type("INT64")) for name in ("num_lower", "num_upper"))
    kept = e.op("And", near(e.op("Neg", distance), lower), near(distance, upper))
    return e.op("Where", kept, x, e.scalar(0, x))


ROWS: Sequence[Row] = (
    Row("as_strided", "input .size .stride .storage_offset?", _as_strided, dict.fromkeys(("stride", "storage_offset"))),
    Row("list_diff", "x y", _list_diff, results=2),
    Row("dynamic_stitch", "data* indices*", _dynamic_stitch),
    Row("matrix_band_part", "input num_lower num_upper", _matrix_band_part),
)
