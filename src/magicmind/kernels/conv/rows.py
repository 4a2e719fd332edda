"""Where a convolution's micro-kernel reads its input rows: in place, or a copy in the thread's scratch.

A copy has the padding written out, so that the micro-kernel needs no bounds, and the type the micro-kernel multiplies:
one vector load and store per input vector against kh*kw*oc/16 multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen import ir
from magicmind.codegen.builder import Index, Kernel, Pointer, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.ir.dims import Dim
from magicmind.kernels.conv.load import Load
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import ConvTypes
from magicmind.kernels.scalar import load_value
from magicmind.kernels.tiles import for_tiles

_BEYOND = 16
"""Bytes behind the last row that the last step of a window row may read."""


@dataclass(frozen=True)
class Rows:
    """Input rows of one image, in place or in scratch.

    Strides in elements: `row` and `pixel` to the next output row and column, `tap_row` and `tap_column` to the next
    row and column of the window, `block` and `channel` to the next input channel block and channel.
    """

    base: Pointer
    row: Index
    pixel: int
    tap_row: Index
    tap_column: int
    block: Index
    channel: Index


@dataclass(frozen=True)
class RowCopy:
    """How the input rows of `rows` output rows are copied; with a `load` from plain memory (few channels), else from
    blocks."""

    shape: ConvShape
    types: ConvTypes
    rows: int
    load: Load | None = None

    @property
    def plain(self) -> bool:
        """Whether x is row-major."""
        return self.load is not None

    def is_needed(self, target: Target) -> bool:
        """Whether the rows cannot be multiplied as they lie in memory."""
        return self.plain or not self.shape.is_pointwise or self.types.rows(target) != self.types.x

    @property
    def step(self) -> tuple[int, int]:
        """Rows and columns of the input to the next one that is copied: pointwise ones read few of them."""
        return (self.shape.sh, self.shape.sw) if self.shape.is_pointwise and not self.plain else (1, 1)

    @property
    def stride(self) -> tuple[int, int]:
        """Copied rows and columns to the next output row and column."""
        return self.shape.sh // self.step[0], self.shape.sw // self.step[1]

    @property
    def interleaves(self) -> bool:
        """Whether channels of plain input are brought together: several are multiplied in one step."""
        return self.plain and self.types.w == "i8"

    @property
    def run(self) -> int:
        """Taps of a window row whose channels lie side by side and are multiplied as one run of numbers."""
        return self.shape.kw if self.interleaves and self.shape.dw == 1 else 1

    def height(self, rows: int) -> int:
        """Copied rows for so many output rows."""
        return (rows - 1) * self.stride[0] + (self.shape.kh - 1) * self.shape.dh + 1

    def scratch_bytes(self, target: Target, columns: Dim) -> Dim:
        """Bytes of scratch for `columns` output columns."""
        s = self.shape
        width = (columns - 1) * self.stride[1] + (s.kw - 1) * s.dw + 1
        channels = s.ic if self.plain else s.ic_blocks * BLOCK
        return width * (channels * self.height(self.rows) * ITEMSIZE[self.types.rows(target)]) + _BEYOND


class RowSource:
    """Emits the access to the rows of an item, which are copied to `scratch`."""

    def __init__(self, k: Kernel, copy: RowCopy, x: Pointer, scratch: Pointer) -> None:
        self.k, self.copy, self.s, self.x = k, copy, copy.shape, x
        s = self.s
        self.ih, self.iw, self.ow = k.size(s.ih), k.size(s.iw), k.size(s.ow)
        self.scratch = scratch.cast(copy.types.rows(k.target))

    def at(self, group: Index, image: Index, row0: Index, row1: Index) -> Rows:
        """The input of output rows row0..row1; a copy is made here."""
        s = self.s
        if not self.copy.is_needed(self.k.target):
            plane = self.ih * self.iw * BLOCK
            start = self._group(image, group) + row0 * s.sh * self.iw * BLOCK
            return Rows(self.x.offset(start), self.iw * (BLOCK * s.sh), BLOCK * s.sw, 0, 0, plane, 1)
        if not self.copy.plain:
            return self._copy_blocked(group, image, row0, row1)
        if self.copy.interleaves:
            return self._copy_interleaved(image, row0, row1)
        return self._copy_planes(image, row0, row1)

    def _planes(self, image: Index, row: Index) -> list[Pointer]:
        """Where the row of each channel begins in plain memory, the columns of padding before it counted in."""
        s, load = self.s, self.copy.load
        assert load is not None
        if load.channels_last:
            start = self.x.offset(((image * self.ih + row) * self.iw - s.pl) * s.ic)
            return [start.offset(c) for c in range(s.ic)]
        start = self.x.offset((image * s.ic * self.ih + row) * self.iw - s.pl)
        return [start.offset(self.ih * self.iw * c) for c in range(s.ic)]

    def _pixels(self, planes: Sequence[Pointer], lanes: int, at: Index) -> list[Vec]:
        """Pixels in the type of the scratch, by channel."""
        assert self.copy.load is not None
        numbers = self.copy.load.pixels(self.k, planes, at, lanes)
        return [self.k.convert(v, self.scratch.dtype) for v in numbers]

    def _group(self, image: Index, group: Index) -> Index:
        s = self.s
        return (image * s.groups + group) * s.ic_blocks * (self.ih * self.iw) * BLOCK

    def _width(self) -> Index:
        """Columns of a copied row: those the widest output row needs."""
        s = self.s
        return (self.ow - 1) * self.copy.stride[1] + (s.kw - 1) * s.dw + 1

    def _needed(self, rows: Index) -> Index:
        s = self.s
        return (rows - 1) * self.copy.stride[0] + (s.kh - 1) * s.dh + 1

    def _read(self, p: Pointer, lanes: int, at: Index) -> Vec:
        """Input numbers in the type of the scratch."""
        return self.k.convert(load_value(p, lanes, at), self.scratch.dtype)

    def _padding(self, lanes: int) -> Vec:
        return self.k.const(self.copy.types.x_zero, self.scratch.dtype, lanes)

    def _copy_blocked(self, group: Index, image: Index, row0: Index, row1: Index) -> Rows:
        """Rows with padding to scratch, [ic block][row][column][16]."""
        k, s = self.k, self.s
        width, height = self._width(), self.copy.height(self.copy.rows)
        row_step, column_step = self.copy.step
        start = self._group(image, group)
        left, right = column_bounds(k, s, self.iw, width)
        padding = self._padding(BLOCK)
        with k.loop("icb", 0, s.ic_blocks) as icb, k.loop("r", 0, self._needed(row1 - row0)) as r:
            to = self.scratch.offset((icb * height + r) * (width * BLOCK))
            row = row0 * s.sh + r * row_step - s.pt
            source = self.x.offset(start + (icb * self.ih + row) * (self.iw * BLOCK) - s.pl * BLOCK)
            lo, hi = self._clip(self._inside(row), left, right)
            with k.loop("left", 0, lo) as c:
                to.store(padding, c * BLOCK)
            self._copy_pixels(to, source, lo, hi, column_step)
            with k.loop("right", k.index_max(hi, lo), width) as c:
                to.store(padding, c * BLOCK)
        line = width * BLOCK
        down, across = self.copy.stride
        return Rows(self.scratch, line * down, BLOCK * across, line * s.dh, BLOCK * s.dw, line * height, 1)

    def _copy_pixels(self, to: Pointer, source: Pointer, lo: Index, hi: Index, step: int) -> None:
        k = self.k

        def body(first: Index, size: int) -> None:
            for i in range(size):
                at = (lo + first + i) * BLOCK
                to.store(self._read(source, BLOCK, at * step), at)

        for_tiles(k, "copy", k.index_max(hi - lo, 0), 4, body)

    def _copy_planes(self, image: Index, row0: Index, row1: Index) -> Rows:
        """Rows with padding to scratch, [channel][row][column]: x is plain."""
        k, s = self.k, self.s
        width, height = self._width(), self.copy.height(self.copy.rows)
        left, right = column_bounds(k, s, self.iw, width)
        zeros = [self._padding(1)] * s.ic

        def store(row: Index, column: Index, numbers: Sequence[Vec]) -> None:
            for c, number in enumerate(numbers):
                self.scratch.store(number, (c * height + row) * width + column)

        with k.loop("r", 0, self._needed(row1 - row0)) as r:
            row = row0 * s.sh + r - s.pt
            planes = self._planes(image, row)
            lo, hi = self._clip(self._inside(row), left, right)
            with k.loop("left", 0, lo) as i:
                store(r, i, zeros)
            vectors = lo + ((k.index_max(hi - lo, 0)) // BLOCK) * BLOCK
            with k.loop("middle", lo, vectors, BLOCK) as i:
                store(r, i, self._pixels(planes, BLOCK, i))
            with k.loop("rest", vectors, hi) as i:
                store(r, i, self._pixels(planes, 1, i))
            with k.loop("right", k.index_max(hi, lo), width) as i:
                store(r, i, zeros)
        return Rows(self.scratch, width * s.sh, s.sw, width * s.dh, s.dw, 0, width * height)

    def _copy_interleaved(self, image: Index, row0: Index, row1: Index) -> Rows:
        """Rows with padding to scratch, [row][column][channel]: a window row is one run of numbers. x is plain."""
        k, s = self.k, self.s
        width = self._width()
        left, right = column_bounds(k, s, self.iw, width)
        padding = self._padding(1)
        with k.loop("r", 0, self._needed(row1 - row0)) as r:
            to = self.scratch.offset(r * width * s.ic)
            row = row0 * s.sh + r - s.pt
            planes = self._planes(image, row)
            lo, hi = self._clip(self._inside(row), left, right)
            with k.loop("left", 0, lo * s.ic) as i:
                to.store(padding, i)
            vectors = lo + ((k.index_max(hi - lo, 0)) // BLOCK) * BLOCK
            with k.loop("middle", lo, vectors, BLOCK) as i:
                to.store(interleave(k, self._pixels(planes, BLOCK, i)), i * s.ic)
            with k.loop("rest", vectors, hi) as i:
                for c, number in enumerate(self._pixels(planes, 1, i)):
                    to.store(number, i * s.ic + c)
            with k.loop("right", k.index_max(hi, lo) * s.ic, width * s.ic) as i:
                to.store(padding, i)
        line = width * s.ic
        return Rows(self.scratch, line * s.sh, s.ic * s.sw, line * s.dh, s.ic * s.dw, 0, 1)

    def _inside(self, row: Index) -> ir.Value | bool:
        """Whether `row` exists in the input."""
        return is_inside(self.k, row, self.ih) if self.s.padded else True

    def _clip(self, inside: ir.Value | bool, left: Index, right: Index) -> tuple[Index, Index]:
        """The columns to copy; none of a row that is all padding."""
        return left, self.k.index_select(inside, right, left)


def column_bounds(k: Kernel, shape: ConvShape, iw: Index, width: Index) -> tuple[Index, Index]:
    """Columns [left, right) of a padded row that lie inside the input."""
    return k.index_min(shape.pl, width), k.index_max(k.index_min(iw + shape.pl, width), 0)


def is_inside(k: Kernel, at: Index, extent: Index) -> ir.Value:
    """Whether a coordinate exists: one unsigned comparison, since a negative one is a huge number."""
    return k.b.icmp_unsigned("<", k.i64(at), k.i64(extent))


def interleave(k: Kernel, vectors: Sequence[Vec]) -> Vec:
    """a0 b0 c0 a1 b1 c1 ... of vectors a, b, c."""
    lanes, joined = vectors[0].lanes, vectors[0]
    for count, vector in enumerate(vectors[1:], 1):
        size = lanes * count
        wide = k.shuffle(vector, vector, [*range(lanes), *[0] * (size - lanes)])
        picks = [p for i in range(lanes) for p in (*range(i * count, (i + 1) * count), size + i)]
        joined = k.shuffle(joined, wide, picks)
    return joined
