"""The operands of a matrix product where they are multiplied: rows of `a` in scratch, chunks of a run-time `b` packed.

`kr` neighbours along the depth lie together: `a` is [rows][k padded to kr], `b` is [k/kr][columns][kr].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from magicmind.codegen.builder import Index, Kernel, Pointer, Vec
from magicmind.codegen.dot import dot_format
from magicmind.codegen.loops import vector_loop
from magicmind.codegen.target import BLOCK, Target
from magicmind.ir.dims import Dim
from magicmind.kernels.contract import line_elements
from magicmind.kernels.scalar import load_value
from magicmind.kernels.transpose import side, transpose

_SUMS = {"f32": "f32", "f16": "f32", "u8": "i32", "i16": "i64"}


@dataclass(frozen=True)
class Types:
    """Element types in memory, of both factors and the result.

    f32 and f16 are multiplied in f32; u8 with i8 (or, at run time, u8) in i32; i16 with i16 in i64. Integer sums are
    exact, and wrap.
    """

    a: str = "f32"
    b: str = "f32"
    out: str = "f32"

    @property
    def accumulator(self) -> str:
        """The type of sums and of the bias."""
        return _SUMS[self.a]

    @property
    def label(self) -> str:
        """For kernel names."""
        return self.a if self.a == self.b else f"{self.a}{self.b}"


F32 = Types()


@dataclass(frozen=True)
class Format:
    """What the inner loop reads: `kr` neighbours of type `a` against `kr` of type `b` per lane."""

    kr: int
    a: str
    b: str


def format_of(target: Target, types: Types, packed: bool) -> Format:
    """A constant `b` is multiplied as it was packed. One of bytes known at run time only is widened to 16 bits while it
    is packed, so that its zero point, and that of `a`, can be taken off."""
    if types.accumulator == "f32":
        return Format(1, "f32", types.b if packed else "f32")
    if types.accumulator == "i64":
        return Format(1, "i16", "i16")
    if not packed:
        return Format(dot_format(target, words=True).kr, "i16", "i16")
    form = dot_format(target)
    return Format(form.kr, form.activations, "i8")


_Count = TypeVar("_Count", Index, Dim)


def odd_lines(count: _Count, dtype: str) -> _Count:
    """`count` numbers rounded up to an odd number of cache lines.

    Rows that begin so far apart share no set of the first-level cache, as rows of 4096 bytes would: a register tile
    reads a line of each of its rows again and again.
    """
    line = line_elements(dtype)
    return ((count + (line - 1)) // line // 2 * 2 + 1) * line


def copy_rows(
    k: Kernel,
    source: Pointer,
    strides: tuple[Index, Index],
    count: Index,
    widths: tuple[Index, Index, Index],
    to: Pointer,
    zero: int,
) -> None:
    """to[r, c] = source[r, c] - zero in the type of `to`; `strides` of the source: rows, columns.

    `widths` of a row: how many numbers it has, up to where zeros follow them, and what it takes in `to`.
    """
    depth, padded, width = widths

    def element(p: Pointer, at: Index, lanes: int, mask: Vec | None) -> Vec:
        value = k.convert(load_value(p, lanes, at, mask), to.dtype)
        return value - zero if zero else value

    with k.loop("copied", 0, count) as row:
        here, there = source.offset(row * strides[0]), to.offset(row * width)
        if isinstance(strides[1], int) and strides[1] == 1:
            vector_loop(k, "c", 0, depth, lambda c, lanes, mask: there.store(element(here, c, lanes, mask), c, mask))
        else:
            with k.loop("c", 0, depth) as c:
                there.store(element(here, c * strides[1], 1, None), c)
        with k.loop("pad", depth, padded) as c:
            there.store(k.const(0, to.dtype), c)


class ColumnPacker:
    """Packs blocks of 16 columns of a run-time `b` as [k/kr][nr * 16][kr] of `to`'s type, zeros beyond the edges."""

    def __init__(self, k: Kernel, b: Pointer, depth: Index, n: Index, kr: int, to: Pointer, zero: int) -> None:
        self.k, self.b, self.depth, self.n, self.kr, self.zero = k, b, depth, n, kr, zero
        self.dtype = to.dtype
        self.unit = {1: to.dtype, 2: "i32"}[kr]
        """One element of the packed matrix: the `kr` numbers of a column."""
        self.to = to.cast(self.unit)
        self.whole = depth // kr
        self.steps = k.ceildiv(depth, kr)

    def rows(self, column: Index, nr: int) -> None:
        """Of a `b` stored as [k, n]."""
        k = self.k
        left = self.n - column

        def all_steps(mask_of: Callable[[int], Vec | None]) -> None:
            def step(s: Index, members: int) -> None:
                for j in range(nr):
                    at, mask = s * self.kr * self.n + column + j * BLOCK, mask_of(j)
                    rows = [self._number(BLOCK, at + self.n * t, mask) for t in range(members)]
                    rows += [k.const(0, self.dtype, BLOCK)] * (self.kr - members)
                    self.to.store(self._join(rows), (s * nr + j) * BLOCK)

            with k.loop("k", 0, self.whole) as s:
                step(s, self.kr)
            with k.loop("k.last", self.whole, self.steps) as s:
                step(s, 1)

        full = k.less(nr * BLOCK - 1, left)
        with k.when(full):
            all_steps(lambda j: None)
        if full is not True:
            with k.when(k.less(left, nr * BLOCK)):
                all_steps(lambda j: k.first_lanes(left - j * BLOCK, BLOCK))

    def turned(self, column: Index, nr: int) -> None:
        """Of a `b` stored as [n, k]: squares turned in registers, element by element where none fits."""
        for j in range(nr):
            self._turned_block(column + j * BLOCK, self.to.offset(j * BLOCK), nr * BLOCK)

    def _turned_block(self, column: Index, to: Pointer, row: int) -> None:
        k = self.k
        size = side(k.target, self.unit)
        left = self.n - column
        full = k.less(BLOCK - 1, left)
        with k.when(full):
            whole = self.whole // size * size
            with k.loop("square", 0, whole, size) as s:
                for first in range(0, BLOCK, size):
                    at = (column + first) * self.depth + s * self.kr
                    turned = transpose([self._group(size, at + self.depth * i) for i in range(size)])
                    for i, vector in enumerate(turned):
                        to.store(vector, (s + i) * row + first)
            self._elements(column, to, row, whole, BLOCK)
        if full is not True:
            with k.when(k.less(left, BLOCK)):
                self._elements(column, to, row, 0, left)

    def _elements(self, column: Index, to: Pointer, row: int, first: Index, width: Index) -> None:
        """Steps from `first` on of `width` columns, zeros beside them."""
        k = self.k

        def step(s: Index, members: int) -> None:
            place = to.offset(s * row)
            if not (isinstance(width, int) and width == BLOCK):
                place.store(k.const(0, self.unit, BLOCK))
            with k.loop("column", 0, width) as c:
                at = (column + c) * self.depth + s * self.kr
                for t in range(members):
                    place.offset(c).cast(self.dtype).store(self._number(1, at + t, None), t)
                for t in range(members, self.kr):
                    place.offset(c).cast(self.dtype).store(k.const(0, self.dtype), t)

        with k.loop("k", first, self.whole) as s:
            step(s, self.kr)
        with k.loop("k.last", self.whole, self.steps) as s:
            step(s, 1)

    def _number(self, lanes: int, at: Index, mask: Vec | None) -> Vec:
        """Elements of `b` without their zero point, in the packed type; zero where `mask` is false."""
        k = self.k
        value = k.convert(load_value(self.b, lanes, at, mask), self.dtype)
        if not self.zero:
            return value
        value = value - self.zero
        return value if mask is None else k.select(mask, value, 0)

    def _group(self, lanes: int, at: Index) -> Vec:
        """`lanes` neighbouring units along the depth."""
        value = self._number(lanes * self.kr, at, None)
        return Vec(self.k, self.k.b.bitcast(value.value, self.k.vector_type(self.unit, lanes)), self.unit, lanes)

    def _join(self, rows: list[Vec]) -> Vec:
        """Vectors of one number per column as one of units."""
        if self.kr == 1:
            return rows[0]
        k = self.k
        both = k.shuffle(rows[0], rows[1], [i + BLOCK * t for i in range(BLOCK) for t in range(2)])
        return Vec(k, k.b.bitcast(both.value, k.vector_type(self.unit, BLOCK)), self.unit, BLOCK)
