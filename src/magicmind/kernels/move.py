"""Strided copies: every operator that only moves elements is one of these, or a few.

A copy walks `extents` with one stride per axis on each side. The axes come from `lower_move.py` merged as far as they
go; what is left decides how the elements travel: whole runs, tiles transposed in registers, or one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Vec
from magicmind.codegen.target import Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.kernels.transpose import side, transpose
from magicmind.kernels.work import params_of, product, share, unravel

_ITEM = 1 << 14  # elements one thread takes at a time

BY_SIZE = {1: "i8", 2: "i16", 4: "f32", 8: "i64"}
"""The element type that stands for all of its size; moving never looks at values."""


def vector_lanes(k: Kernel, dtype: str) -> int:
    """Elements of `dtype` in one register."""
    return 4 * k.target.lanes // ITEMSIZE[dtype]


def spans(k: Kernel, begin: Index, end: Index, lanes: int, body: Callable[[Index, int], None]) -> None:
    """Calls `body(first, width)` over begin..end in vectors of `lanes`, the rest in vectors of halving width."""
    width = lanes
    while width:
        stop = begin + (end - begin) // width * width
        if begin is not stop:
            with k.loop(f"x{width}", begin, stop, width) as x:
                body(x, width)
        begin, width = stop, width // 2


def copy_span(k: Kernel, source: Pointer, target: Pointer, begin: Index, end: Index) -> None:
    """target[i] = source[i] for i in begin..end."""
    spans(k, begin, end, vector_lanes(k, source.dtype), lambda x, width: target.store(source.load(width, at=x), at=x))


def fill_span(k: Kernel, target: Pointer, value: Vec, begin: Index, end: Index) -> None:
    """target[i] = value for i in begin..end."""
    lanes = vector_lanes(k, target.dtype)
    spans(k, begin, end, lanes, lambda x, width: target.store(k.broadcast(value, width), at=x))


@dataclass(frozen=True)
class Copy:
    """out[i . target] = in[i . source] for every i within `extents`; strides count elements and may be 0 or negative.

    Args: in, out of `dtype`, both at the place of i = 0. No two i may share a place in `out`. A target stride of 1, if
    there is one, is the last.
    """

    extents: tuple[Size, ...]
    source: tuple[Size, ...]
    target: tuple[Size, ...]
    dtype: str = "f32"

    @property
    def name(self) -> str:
        return f"{self.mode}_{'x'.join(map(str, self.extents))}"

    @property
    def mode(self) -> str:
        """How elements travel: `copy` runs, `fill` runs, `transpose` tiles or `scatter` single ones."""
        if self.target[-1] != 1:
            return "scatter"
        if self.source[-1] in (0, 1):
            return "copy" if self.source[-1] == 1 else "fill"
        return "transpose" if 1 in self.source else "scatter"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype), params_of(*self.extents, *self.source, *self.target))
        emitter = _CopyEmitter(k, self)
        if self.mode == "transpose":
            emitter.transposes()
        else:
            emitter.rows()
        return k


class _CopyEmitter:
    def __init__(self, k: Kernel, spec: Copy) -> None:
        self.k, self.mode = k, spec.mode
        self.extents = [k.size(e) for e in spec.extents]
        self.source = [k.size(s) for s in spec.source]
        self.target = [k.size(s) for s in spec.target]
        self.lanes = vector_lanes(k, spec.dtype)

    def places(self, coordinates: Sequence[Index], axes: Sequence[int]) -> tuple[Pointer, Pointer]:
        """Both addresses of the element with these coordinates along `axes`, 0 along the others."""
        source, target = self.k.pointers
        for c, axis in zip(coordinates, axes, strict=True):
            source, target = source.offset(c * self.source[axis]), target.offset(c * self.target[axis])
        return source, target

    def rows(self) -> None:
        """Runs along the last axis. An item is a group of neighbouring rows, or a piece of a long one."""
        k = self.k
        outer: list[Index] = [1, 1, *self.extents[:-1]]
        n = self.extents[-1]
        axes = [*range(len(self.extents) - 1)]
        group = k.index_max(_ITEM // k.index_max(n, 1), 1)
        groups, pieces = k.ceildiv(outer[-1], group), k.ceildiv(n, _ITEM)
        items = [*outer[:-1], groups, pieces]
        cost = k.ceildiv(k.index_min(n, _ITEM), self.lanes if self.mode != "scatter" else 1)
        first, last = share(k, product(items), cost * k.index_min(group, outer[-1]))
        with k.loop("item", first, last) as item:
            *coordinates, g, piece = unravel(item, items)
            begin = piece * _ITEM
            end = k.index_min(begin + _ITEM, n)
            with k.loop("row", g * group, k.index_min((g + 1) * group, outer[-1])) as row:
                self.run(*self.places([*coordinates, row][-len(axes) :] if axes else [], axes), begin, end)

    def run(self, source: Pointer, target: Pointer, begin: Index, end: Index) -> None:
        k = self.k
        if self.mode == "copy":
            copy_span(k, source, target, begin, end)
        elif self.mode == "fill":
            fill_span(k, target, source.load(), begin, end)
        else:
            with k.loop("x", begin, end) as x:
                target.store(source.load(at=x * self.source[-1]), at=x * self.target[-1])

    def transposes(self) -> None:
        """Tiles over the axis contiguous in `in` (columns) and the last one, contiguous in `out` (rows)."""
        k = self.k
        self.column = max(i for i, s in enumerate(self.source) if isinstance(s, int) and s == 1)
        axes = [i for i in range(len(self.extents) - 1) if i != self.column]
        self.side = side(k.target, k.pointers[0].dtype)
        strips = k.ceildiv(self.extents[self.column], self.side)
        pieces = k.ceildiv(self.extents[-1], _ITEM // self.side)
        items = [*(self.extents[i] for i in axes), strips, pieces]
        cost = k.index_min(self.extents[-1], _ITEM // self.side)
        first, last = share(k, product(items), cost)
        with k.loop("item", first, last) as item:
            *coordinates, strip, piece = unravel(item, items)
            source, target = self.places(coordinates, axes)
            begin = piece * (_ITEM // self.side)
            end = k.index_min(begin + _ITEM // self.side, self.extents[-1])
            self.strip(source, target, strip * self.side, begin, end)

    def strip(self, source: Pointer, target: Pointer, column: Index, begin: Index, end: Index) -> None:
        """Up to `side` columns from `column`, rows begin..end."""
        k, n = self.k, self.side
        columns = k.index_min(self.extents[self.column] - column, n)
        source, target = source.offset(column), target.offset(column * self.target[self.column])
        tiled = begin + (end - begin) // n * n
        whole = k.index_select(k.less(columns, n), begin, tiled)
        with k.loop("tile", begin, whole, n) as row:
            vectors = [source.load(n, at=(row + i) * self.source[-1]) for i in range(n)]
            for i, column_vector in enumerate(transpose(vectors)):
                target.store(column_vector, at=row + self.target[self.column] * i)
        with k.loop("column", 0, columns) as c, k.loop("row", whole, end) as row:
            target.store(source.load(at=row * self.source[-1] + c), at=c * self.target[self.column] + row)
