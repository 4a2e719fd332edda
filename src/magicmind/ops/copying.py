"""From shapes and symbolic strides to one `Copy` call: what all data-movement lowerings share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from magicmind.codegen.values import ITEMSIZE
from magicmind.ir.dims import Dim, product
from magicmind.kernels.move import BY_SIZE, Copy
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref


@dataclass(frozen=True)
class Axis:
    """`extent` elements, this many elements apart in the source and in the target."""

    extent: Dim
    source: Dim
    target: Dim


def row_major(shape: Sequence[Dim]) -> list[Dim]:
    """Strides of contiguous memory, in elements."""
    strides: list[Dim] = []
    step: Dim = 1
    for extent in reversed(shape):
        strides.append(step)
        step = step * extent
    return strides[::-1]


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """The same copy with as few axes as possible, the one contiguous in the target last."""
    result: list[Axis] = []
    for axis in axes:
        if axis.extent == 1:
            continue
        if result and _continues(result[-1], axis):
            result[-1] = Axis(result[-1].extent * axis.extent, axis.source, axis.target)
        else:
            result.append(axis)
    result.sort(key=lambda a: a.target == 1)
    return result or [Axis(1, 1, 1)]


def _continues(outer: Axis, inner: Axis) -> bool:
    return outer.source == inner.source * inner.extent and outer.target == inner.target * inner.extent


def is_view(axes: Sequence[Axis]) -> bool:
    """Whether source and target are the same bytes in the same order."""
    rest = merged(axes)
    return len(rest) == 1 and rest[0].source == rest[0].target == 1


def call_copy(low: Lowering, node: ir.Node, axes: Sequence[Axis], source: Ref, target: Ref, dtype: str) -> None:
    """Adds the copy; `source` and `target` are the places of element 0."""
    rest = _widened(merged(axes), ITEMSIZE[dtype])
    count = product(a.extent for a in axes)
    size = ITEMSIZE[dtype]
    p = low.params()
    spec = Copy(
        tuple(p.size(a.extent) for a in rest[1]),
        tuple(p.size(a.source) for a in rest[1]),
        tuple(p.size(a.target) for a in rest[1]),
        BY_SIZE[rest[0]],
    )
    low.call(node, spec, [source, target], p, bytes=count * (2 * size))


def _widened(axes: list[Axis], size: int) -> tuple[int, list[Axis]]:
    """Short contiguous runs (a pair of floats, four bytes) travel as one wider element: (bytes of it, axes)."""
    while size < 8 and len(axes) > 1:
        *outer, last = axes
        runs = last.source == last.target == 1 and isinstance(last.extent, int) and last.extent in (2, 4, 8)
        if not runs or not all(_is_even(s) for a in outer for s in (a.source, a.target)):
            break
        assert isinstance(last.extent, int)
        outer = [Axis(a.extent, a.source // 2, a.target // 2) for a in outer]
        size *= 2
        axes = [*outer, replace(last, extent=last.extent // 2)] if last.extent > 2 else merged(outer)
    return size, axes


def _is_even(stride: Dim) -> bool:
    return stride % 2 == 0
