"""Depthwise convolution of numbers that are not multiplied as they lie in memory: bytes and float16.

The input rows of an item are copied to scratch with their padding, float16 as float32. Bytes of `kr` rows of the window
are interleaved to the operand of a dot product (`codegen/dot.py`): a column of the input is loaded and interleaved once
for all the taps that read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from magicmind.codegen.builder import Index, Kernel, Pointer, Tile, Vec
from magicmind.codegen.dot import dot, dot_format
from magicmind.codegen.target import BLOCK, Target
from magicmind.kernels.contract import weight_group
from magicmind.kernels.conv.pack import Weights, pad_axis
from magicmind.kernels.conv.rows import RowCopy, Rows, RowSource, interleave
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import ConvTypes
from magicmind.kernels.tiles import for_tiles

_UNROLLED_ROWS = 3

Put = Callable[[Index, Index, Index, Index, Vec], None]
"""Takes (image, channel block, row, column, value) of a finished output vector."""


def channel_rows(shape: ConvShape, types: ConvTypes, rows: int) -> RowCopy:
    """The copy of the input rows of `rows` output rows of one block of channels."""
    blocks = -(-shape.groups // BLOCK)
    return RowCopy(replace(shape, groups=blocks, ic=BLOCK, oc=BLOCK), types, rows, widen=False)


def weights_dtype(types: ConvTypes, target: Target) -> str:
    """The type of the packed weights: bytes lie widened where the target multiplies them so."""
    return "i16" if types.is_integer and dot_format(target).widens else types.w


def pack_depthwise_rows(w: Weights, types: ConvTypes, target: Target) -> Weights:
    """w[c, 1, kh, kw] -> [c block][kh/kr][kw][16][kr] of `weights_dtype`, rows padded with zeros."""
    kr = weight_group(target, types.w)
    padded = pad_axis(pad_axis(w, 0, BLOCK), 2, kr)
    blocks, kw = padded.shape[0] // BLOCK, padded.shape[3]
    grouped = padded.reshape(blocks, BLOCK, -1, kr, kw).transpose(0, 2, 4, 1, 3)
    return grouped.astype({"i16": np.int16, "f32": np.float32}.get(weights_dtype(types, target), w.dtype)).ravel()


class CopiedDepthwiseRows:
    """Emits the depthwise convolution of some output rows of one channel block; `scratch` holds the copied rows."""

    def __init__(
        self,
        k: Kernel,
        copy: RowCopy,
        mr: int,
        pointers: tuple[Pointer, Pointer, Pointer],
        scratch: Pointer,
        put: Put,
    ) -> None:
        self.k, self.s, self.types, self.mr, self.put = k, copy.shape, copy.types, mr, put
        x, self.w, self.bias = pointers
        self.rows = RowSource(k, copy, x, scratch)
        self.kr = weight_group(k.target, self.types.w)
        self.groups = -(-self.s.kh // self.kr)

    def emit(self, image: Index, block: Index, row0: Index, row1: Index) -> None:
        """Output rows row0..row1."""
        k = self.k
        source = self.rows.at(block, image, row0, row1)
        weights = self.w.offset(block * (self.groups * self.s.kw * BLOCK * self.kr))
        with k.loop("row", 0, row1 - row0) as row:

            def tile(column: Index, columns: int) -> None:
                acc = k.tile("acc", columns, dtype=self.types.acc)
                acc.fill(self.bias.load(BLOCK, block * BLOCK))
                self._taps(acc, source, weights, source.base.offset(row * source.row + column * source.pixel), columns)
                for (c,) in acc:
                    self.put(image, block, row0 + row, column + c, acc[c,])

            for_tiles(k, "col", k.size(self.s.ow), self.mr, tile)

    def _taps(self, acc: Tile, source: Rows, weights: Pointer, at: Pointer, columns: int) -> None:
        k = self.k
        if self.s.kh > _UNROLLED_ROWS:
            with k.loop("group", 0, self.groups) as group:
                self._group(acc, source, weights, at, group, columns)
            return
        for number in range(self.groups):
            self._group(acc, source, weights, at, number, columns)

    def _group(self, acc: Tile, source: Rows, weights: Pointer, at: Pointer, group: Index, columns: int) -> None:
        """`kr` rows of the window: every copied column meets the taps that read it."""
        k, s, kr = self.k, self.s, self.kr
        across = source.pixel // BLOCK
        readers: dict[int, list[tuple[int, int]]] = {}
        for c in range(columns):
            for tap in range(s.kw):
                readers.setdefault(c * across + tap * s.dw, []).append((c, tap))
        # A row beyond the window has zero weights: any row will do.
        rows = [at.offset(k.index_min(group * kr + t, s.kh - 1) * source.tap_row) for t in range(kr)]
        packed = weights.offset(group * (s.kw * BLOCK * kr))
        for place, taps in sorted(readers.items()):
            value = self._operand([row.load(BLOCK, place * BLOCK) for row in rows])
            for c, tap in taps:
                weight = packed.load(BLOCK * kr, tap * (BLOCK * kr))
                acc[c,] = dot(k, acc[c,], value, weight) if self.types.is_integer else k.fma(value, weight, acc[c,])

    def _operand(self, rows: list[Vec]) -> Vec:
        if not self.types.is_integer:
            return rows[0]
        return self.k.convert(interleave(self.k, rows), dot_format(self.k.target).activations)
