"""Depthwise convolution of bytes by dot products, where a step multiplies `kr` numbers of a lane (`codegen/dot.py`).

The neighbours that are multiplied together are rows: an item's input is copied to scratch as groups of `kr` rows whose
bytes lie side by side, [group][column][16 channels][kr rows]. A group begins every `STEP` rows, so that a 3x3 window
lies within one group of four, or two of two, whichever row of it comes first; weights outside of the window are zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from magicmind.codegen.builder import Index, Kernel, Pointer, Tile, Vec
from magicmind.codegen.dot import dot, dot_format, load_weights
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.ir.dims import Dim
from magicmind.kernels.conv.pack import Weights, pad_axis
from magicmind.kernels.conv.rows import column_bounds, interleave, is_inside
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.tiles import for_tiles

STEP = 2
"""Rows from one group to the next."""

Put = Callable[[Index, Index, Index, Index, Sequence[Vec]], None]
"""Takes (image, channel block, row, column, values) of finished neighbouring pixels, the first at the column."""


@dataclass(frozen=True)
class RowGroups:
    """Where the windows of `shape` lie in groups of `kr` rows."""

    shape: ConvShape
    kr: int

    @classmethod
    def of(cls, shape: ConvShape, target: Target) -> RowGroups | None:
        """None where rows cannot be brought together: dilated windows, targets that multiply one number a lane."""
        kr = dot_format(target).kr
        return cls(shape, kr) if kr > 1 and shape.dh == 1 else None

    @property
    def weights(self) -> str:
        """The type of packed weights."""
        return "i8" if self.kr == 4 else "i16"

    @property
    def phases(self) -> int:
        """Output rows after which a window begins at the same row of a group again."""
        return STEP // math.gcd(self.shape.sh, STEP)

    def first_row(self, phase: int) -> int:
        """The row of a group at which the windows of a phase begin."""
        return phase * self.shape.sh % STEP

    def steps(self, phase: int) -> int:
        """Groups that a window reaches into, `kr` rows from one to the next."""
        return -(-(self.first_row(phase) + self.shape.kh) // self.kr)

    @property
    def apart(self) -> int:
        """From a group of a window to its next one."""
        return self.kr // STEP

    def count(self, rows: Index) -> Index:
        """Groups that so many output rows read."""
        reach = max(self.steps(phase) for phase in range(self.phases))
        return (rows - 1) * self.shape.sh // STEP + ((reach - 1) * self.apart + 1)

    @property
    def window(self) -> int:
        """Columns that a window spans."""
        return (self.shape.kw - 1) * self.shape.dw + 1

    def scratch_bytes(self, target: Target, rows: int, columns: Dim) -> Dim:
        """Bytes of scratch for an item of `rows` output rows and so many columns."""
        groups = self.count(rows)
        assert isinstance(groups, int)
        width = (columns - 1) * self.shape.sw + self.window
        return width * (groups * BLOCK * self.kr * ITEMSIZE[dot_format(target).activations])

    def pack(self, w: Weights) -> Weights:
        """w[c, 1, kh, kw] -> [c block][phase][step][kw][16][kr]."""
        kh, kw = w.shape[2:]
        by_block = pad_axis(w, 0, BLOCK).reshape(-1, BLOCK, kh, kw)
        parts = []
        for phase in range(self.phases):
            rows = np.zeros((len(by_block), BLOCK, self.steps(phase) * self.kr, kw), w.dtype)
            rows[:, :, self.first_row(phase) :][:, :, :kh] = by_block
            grouped = rows.reshape(len(by_block), BLOCK, self.steps(phase), self.kr, kw)
            parts.append(grouped.transpose(0, 2, 4, 1, 3).reshape(len(by_block), -1))
        return np.concatenate(parts, 1).astype(self.weights.replace("i", "int")).ravel()

    def weights_of(self, phase: int) -> int:
        """Packed weights of one channel block and phase."""
        return self.steps(phase) * self.shape.kw * BLOCK * self.kr


class DotDepthwiseRows:
    """Emits the depthwise convolution of some output rows of one channel block.

    `pointers`: x (uint8), w (`RowGroups.pack`), bias (int32). `x_zero` is what padding holds.
    """

    def __init__(
        self,
        k: Kernel,
        groups: RowGroups,
        mr: int,
        pointers: tuple[Pointer, Pointer, Pointer],
        x_zero: int,
        scratch: Pointer,
        put: Put,
    ) -> None:
        self.k, self.groups, self.s, self.mr, self.put = k, groups, groups.shape, mr, put
        self.x, self.w, self.bias = pointers
        s = self.s
        self.ih, self.iw, self.ow = k.size(s.ih), k.size(s.iw), k.size(s.ow)
        self.blocks = -(-s.groups // BLOCK)
        self.width = (self.ow - 1) * s.sw + groups.window
        self.scratch = scratch.cast(dot_format(k.target).activations)
        self.column = BLOCK * groups.kr
        self.padding = Pointer(k, k.alloca(k.vector_type("u8", BLOCK), "padding"), "u8")
        self.padding.store(k.const(x_zero, "u8", BLOCK))
        self.all_padding = k.const(x_zero, self.scratch.dtype, self.column)

    def emit(self, image: Index, block: Index, row0: Index, row1: Index) -> None:
        """Output rows row0..row1."""
        k, groups = self.k, self.groups
        rows = row1 - row0
        with k.loop("group", 0, groups.count(rows)) as group:
            self._bring_together(image, block, row0 * self.s.sh - self.s.pt + group * STEP, group)
        bias = self.bias.load(BLOCK, block * BLOCK)
        weights = self.w.offset(block * sum(groups.weights_of(phase) for phase in range(groups.phases)))

        def output_row(row: Index, phase: int, packed: Pointer) -> None:
            source = self.scratch.offset(row * self.s.sh // STEP * (self.width * self.column))

            def tile(column: Index, columns: int) -> None:
                acc = k.tile("acc", columns, dtype="i32")
                acc.fill(bias)
                self._window(acc, source.offset(column * (self.s.sw * self.column)), packed, phase)
                self.put(image, block, row0 + row, column, [acc[c] for c in acc])

            for_tiles(k, "col", self.ow, self.mr, tile)

        for phase in range(groups.phases):
            with k.loop("row", phase, rows, groups.phases) as row:
                output_row(row, phase, weights)
            weights = weights.offset(groups.weights_of(phase))

    def _bring_together(self, image: Index, block: Index, row: Index, group: Index) -> None:
        """Rows row..row + kr of the image, or padding, as a group."""
        k, s = self.k, self.s
        plane = self.x.offset((image * self.blocks + block) * (self.ih * self.iw * BLOCK))
        lines = [plane.offset(((row + i) * self.iw - s.pl) * BLOCK) for i in range(self.groups.kr)]
        inside = [is_inside(k, row + i, self.ih) for i in range(self.groups.kr)]
        to = self.scratch.offset(group * (self.width * self.column))
        left, right = column_bounds(k, s, self.iw, self.width)

        def pixels(line: Pointer, there: object, column: Index) -> Vec:
            address = k.b.select(there, line.offset(column * BLOCK).value, self.padding.value)
            return Pointer(k, address, "u8").load(BLOCK)

        with k.loop("left", 0, left) as c:
            to.store(self.all_padding, c * self.column)
        with k.loop("middle", left, right) as c:
            rows = [pixels(line, there, c) for line, there in zip(lines, inside, strict=True)]
            to.store(k.convert(_joined(k, rows), self.scratch.dtype), c * self.column)
        with k.loop("right", k.index_max(right, left), self.width) as c:
            to.store(self.all_padding, c * self.column)

    def _window(self, acc: Tile, at: Pointer, weights: Pointer, phase: int) -> None:
        """Every column of a group is loaded once for all the taps that read it."""
        k, s, groups = self.k, self.s, self.groups
        readers: dict[int, list[tuple[int, int]]] = {}
        for (c,) in acc:
            for tap in range(s.kw):
                readers.setdefault(c * s.sw + tap * s.dw, []).append((c, tap))
        for step in range(groups.steps(phase)):
            row = at.offset(step * groups.apart * (self.width * self.column))
            packed = weights.offset(step * s.kw * self.column)
            for place, taps in sorted(readers.items()):
                numbers = row.load(self.column, place * self.column)
                for c, tap in taps:
                    acc[c,] = dot(k, acc[c,], numbers, load_weights(k, packed, tap * self.column))


def _joined(k: Kernel, rows: list[Vec]) -> Vec:
    """a0 b0 c0 d0 a1 b1 c1 d1 ... of two or four rows, in steps that are one instruction each."""
    if len(rows) == 2:
        return interleave(k, rows)
    pairs = [_as(k, interleave(k, rows[i : i + 2]), "i16") for i in (0, 2)]
    return _as(k, interleave(k, pairs), "u8")


def _as(k: Kernel, x: Vec, dtype: str) -> Vec:
    """The same bits as lanes of another width."""
    lanes = x.lanes * ITEMSIZE[x.dtype] // ITEMSIZE[dtype]
    return Vec(k, k.b.bitcast(x.value, k.vector_type(dtype, lanes)), dtype, lanes)
