"""Depthwise convolution of numbers that are not float32: bytes, float16, int16.

The input rows of an item are copied to scratch with their padding, bytes and float16 as float32. Bytes stay whole
numbers there: a sum of up to `MOST_TAPS` products of bytes is below 2^24, so float32 holds it exactly, and a
multiply-add of floats does more than any instruction for pairs of bytes that first have to be brought together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from magicmind.codegen.builder import Index, Kernel, Pointer, Tile, Vec
from magicmind.codegen.target import BLOCK
from magicmind.kernels.contract import add_product
from magicmind.kernels.conv.rows import RowCopy, Rows, RowSource
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import ConvTypes
from magicmind.kernels.tiles import for_tiles

Put = Callable[[Index, Index, Index, Index, Sequence[Vec]], None]
"""Takes (image, channel block, row, column, values) of finished neighbouring pixels, the first at the column."""
MOST_TAPS = 2**24 // (255 * 128)
"""Taps of a window of bytes."""
_UNROLLED_ROWS = 3


def channel_rows(shape: ConvShape, types: ConvTypes, rows: int) -> RowCopy:
    """The copy of the input rows of `rows` output rows of one block of channels."""
    blocks = -(-shape.groups // BLOCK)
    return RowCopy(replace(shape, groups=blocks, ic=BLOCK, oc=BLOCK), types, rows)


class CopiedDepthwiseRows:
    """Emits the depthwise convolution of some output rows of one channel block; `scratch` holds the copied rows.

    `pointers`: x, w (float32 or int16), bias (of the accumulators' type).
    """

    def __init__(
        self,
        k: Kernel,
        copy: RowCopy,
        mr: int,
        pointers: tuple[Pointer, Pointer, Pointer],
        scratch: Pointer,
        put: Put,
    ) -> None:
        self.k, self.s, self.mr, self.put = k, copy.shape, mr, put
        self.bytes = copy.types.x == "u8"
        self.sums = "f32" if self.bytes else copy.types.acc
        x, self.w, self.bias = pointers
        self.rows = RowSource(k, copy, x, scratch)

    def emit(self, image: Index, block: Index, row0: Index, row1: Index) -> None:
        """Output rows row0..row1."""
        k = self.k
        source = self.rows.at(block, image, row0, row1)
        weights = self.w.offset(block * (self.s.kh * self.s.kw * BLOCK))
        bias = self.bias.load(BLOCK, block * BLOCK)
        with k.loop("row", 0, row1 - row0) as row:

            def tile(column: Index, columns: int) -> None:
                acc = k.tile("acc", columns, dtype=self.sums)
                acc.fill(k.const(0.0, "f32", BLOCK) if self.bytes else bias)
                self._taps(acc, source, weights, source.base.offset(row * source.row + column * source.pixel))
                self.put(image, block, row0 + row, column, [self._sum(acc[c], bias) for c in acc])

            for_tiles(k, "col", k.size(self.s.ow), self.mr, tile)

    def _sum(self, total: Vec, bias: Vec) -> Vec:
        if not self.bytes:
            return total
        k = self.k
        return Vec(k, k.b.fptosi(total.value, k.vector_type("i32", BLOCK)), "i32", BLOCK) + bias

    def _taps(self, acc: Tile, source: Rows, weights: Pointer, at: Pointer) -> None:
        k = self.k
        if self.s.kh > _UNROLLED_ROWS:
            with k.loop("kh", 0, self.s.kh) as kh:
                self._window_row(acc, source, weights, at, kh)
            return
        for number in range(self.s.kh):
            self._window_row(acc, source, weights, at, number)

    def _window_row(self, acc: Tile, source: Rows, weights: Pointer, at: Pointer, kh: Index) -> None:
        """A row of the window: every copied column is loaded once for all the taps that read it."""
        k, s = self.k, self.s
        across = source.pixel // BLOCK
        readers: dict[int, list[tuple[int, int]]] = {}
        for (c,) in acc:
            for tap in range(s.kw):
                readers.setdefault(c * across + tap * s.dw, []).append((c, tap))
        row, packed = at.offset(kh * source.tap_row), weights.offset(kh * (s.kw * BLOCK))
        for place, taps in sorted(readers.items()):
            value = row.load(BLOCK, place * BLOCK)
            for c, tap in taps:
                acc[c,] = add_product(k, acc[c,], value, packed.load(BLOCK, tap * BLOCK), exact=self.bytes)
