"""Slice: numpy basic slicing per axis.  ONNX operator Slice-13."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import Dim, bounds, ceildiv, dim_max, dim_min
from magicmind.ir.types import TensorType
from magicmind.ops.registry import Array, NodeView, Op, normalise_axis

slice_ = Op("Slice").half()

_FAR = (1 << 31) - 1  # ends from here on mean "to the last element"


@dataclass(frozen=True)
class Cut:
    """What is kept of one axis: `length` elements from `start` on, every `step`-th."""

    start: Dim
    length: Dim
    step: int


def cuts_of(node: NodeView) -> tuple[Cut, ...]:
    """The cut of every axis of the input.

    Raises UnsupportedOperatorError when it depends on run-time data, ShapeError when it is malformed.
    """
    x = node.input(0)
    starts, ends = _bounds_input(node, 1, "starts"), _bounds_input(node, 2, "ends")
    axes = node.need_ints(3, "axes") if node.has(3) else list(range(len(starts)))
    steps = node.need_ints(4, "steps") if node.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ShapeError(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes, {len(steps)} steps")
    cuts = [Cut(0, d, 1) for d in x.dims]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        a = normalise_axis(axis, x.rank)
        cuts[a] = cut(x.dims[a], start, end, step)
    return tuple(cuts)


def cut(size: Dim, start: Dim, end: Dim, step: int) -> Cut:
    """The cut that `start:end:step` makes in an axis of `size`, clamped as ONNX and numpy do."""
    if step == 0:
        raise ShapeError("step 0")
    if step > 0:
        low, high = _clamp(start, size, 0, size), _clamp(end, size, 0, size)
        return Cut(low, dim_max(ceildiv(high - low, step), 0), step)
    first, last = _clamp(start, size, 0, size - 1), _clamp(end, size, -1, size - 1)
    return Cut(first, dim_max(ceildiv(first - last, -step), 0), step)


def _clamp(position: Dim, size: Dim, low: Dim, high: Dim) -> Dim:
    smallest, largest = bounds(position, {})
    if smallest >= _FAR:
        return high
    if largest is not None and largest < 0:
        if largest <= -_FAR:
            return low
        position = position + size
    elif smallest < 0:
        from_the_end = 1 - dim_min(dim_max(position + 1, 0), 1)  # 1 for positions below 0
        position = position + size * from_the_end
    return dim_min(dim_max(position, low), high)


def _bounds_input(node: NodeView, i: int, what: str) -> list[Dim]:
    found = node.dims(i)
    if found is None:
        raise UnsupportedOperatorError(f"{what} (input {i}) depend on run-time data; they must follow from shapes")
    return found


@slice_.infer
def infer(node: NodeView) -> list[TensorType]:
    """Same dtype, the lengths of the cuts."""
    return [TensorType(node.input(0).dtype, tuple(c.length for c in cuts_of(node)))]


@slice_.data
def data(node: NodeView) -> list[Array | None]:
    """The part of the contents, where the cuts are numbers."""
    found = node.data(0)
    cuts = cuts_of(node)
    if found is None:
        return [None]
    for axis, c in enumerate(cuts):
        if not isinstance(c.start, int) or not isinstance(c.length, int):
            return [None]
        found = found.take(range(c.start, c.start + c.length * c.step, c.step), axis=axis)
    return [found]
