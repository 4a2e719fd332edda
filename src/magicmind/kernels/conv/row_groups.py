"""Rows of bytes brought together for dot products along them, which multiply `kr` numbers of a lane (`codegen/dot.py`).

A group is `kr` neighbouring rows of 16 channels; one begins every `STEP` rows, so that a 3x3 window lies within one
group of four, or two of two, whichever row of it comes first. It consists of cells, the `kr` rows of some channels of a
column, `[channels][kr rows]`, and lies in memory as `[group][part of the channels][column % stride][column / stride]`:
neighbouring output columns are read at once, whatever tap of the window.

A cell has all 16 channels, or, where registers have 512 bits, four: 128 bits, within which x86 interleaves bytes, so
that registers are made of four columns' rows without crossing them. (With 256 bits that saves little, and loads
that cross cache lines cost more.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magicmind.codegen.builder import Index, Kernel, Pointer
from magicmind.codegen.dot import dot_format
from magicmind.codegen.shuffle import every_second_part, interleave_parts
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE, Int, Vec
from magicmind.ir.dims import Dim
from magicmind.kernels.conv.pack import Weights, pad_axis
from magicmind.kernels.conv.rows import column_bounds, is_inside
from magicmind.kernels.conv.shape import ConvShape

STEP = 2
"""Rows from one group to the next."""
_INTERLEAVED = 16
"""Bytes within which the instructions interleave."""


@dataclass(frozen=True)
class RowGroups:
    """Where the windows of `shape` lie in groups of `kr` rows, whose cells have so many `channels`."""

    shape: ConvShape
    kr: int
    channels: int

    @classmethod
    def of(cls, shape: ConvShape, target: Target) -> RowGroups | None:
        """None where rows cannot be brought together: dilated windows, strides above two, targets that multiply one
        number a lane."""
        kr = dot_format(target).kr
        fits = kr > 1 and shape.dh == 1 and shape.sw <= 2
        return cls(shape, kr, 4 if target.lanes == BLOCK else BLOCK) if fits else None

    @property
    def weights(self) -> str:
        """The type of packed weights."""
        return "i8" if self.kr == 4 else "i16"

    @property
    def cell(self) -> int:
        """Numbers of a cell."""
        return self.channels * self.kr

    @property
    def parts(self) -> int:
        """Cells of a column."""
        return BLOCK // self.channels

    @property
    def across(self) -> int:
        """Columns whose cells are multiplied at once, by 16 lanes."""
        return BLOCK // self.channels

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

    @property
    def beyond(self) -> int:
        """Cells of a line beyond one for each output column: the window's, and those read with its last one."""
        return -(-self.window // self.shape.sw) - 1 + self.across - 1

    def scratch_bytes(self, target: Target, rows: int, columns: Dim) -> Dim:
        """Bytes of scratch for an item of `rows` output rows and so many columns."""
        groups = self.count(rows)
        assert isinstance(groups, int)
        size = BLOCK * self.kr * ITEMSIZE[dot_format(target).activations]
        return (columns + self.beyond) * (groups * self.shape.sw * size)

    def pack(self, w: Weights) -> Weights:
        """w[c, 1, kh, kw] -> [c block][phase][step][kw][16][kr]; weights of a group's other rows are zeros."""
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


class RowGroupCopy:
    """Emits the copy of rows to scratch; `x_zero` is what padding holds."""

    def __init__(self, k: Kernel, groups: RowGroups, x: Pointer, x_zero: int, scratch: Pointer) -> None:
        self.k, self.groups, self.s, self.x = k, groups, groups.shape, x
        self.ih, self.iw, ow = k.size(self.s.ih), k.size(self.s.iw), k.size(self.s.ow)
        self.blocks = -(-self.s.groups // BLOCK)
        self.width = (ow - 1) * self.s.sw + groups.window
        self.line = (ow + groups.beyond) * groups.cell
        self.scratch = scratch.cast(dot_format(k.target).activations)
        self.together = self.s.sw * groups.across
        self.padding = Pointer(k, k.alloca(k.vector_type("u8", self.together * BLOCK), "padding"), "u8")
        self.padding.store(k.const(x_zero, "u8", self.together * BLOCK))
        self.all_padding = k.const(x_zero, self.scratch.dtype, groups.cell)

    def cell(self, group: Index, part: int, residue: Index, column: Index) -> Pointer:
        """Where in scratch the cell of column `column * stride + residue` begins."""
        lines = (group * self.groups.parts + part) * self.s.sw + residue
        return self.scratch.offset(lines * self.line + column * self.groups.cell)

    def emit(self, image: Index, block: Index, row: Index, group: Index) -> None:
        """Rows row..row + kr of the image, or padding, as a group."""
        k, s, n = self.k, self.s, self.together
        plane = self.x.offset((image * self.blocks + block) * (self.ih * self.iw * BLOCK))
        lines = [self._line(plane, row + i) for i in range(self.groups.kr)]
        left, right = column_bounds(k, s, self.iw, self.width)
        right = k.index_max(left, right)
        with k.loop("left", 0, left) as column:
            self._pad(group, column)
        begin = k.ceildiv(left, s.sw) * s.sw
        with k.loop("first", left, k.index_min(begin, right)) as column:
            self._copy(lines, group, column)
        whole = k.index_max(right - begin, 0) // n
        end = begin + whole * n
        with k.loop("middle", begin, end, n) as column:
            self._copy_together(lines, group, column)
        some, rest = k.less(0, whole), k.less(end, right)
        last = (right - n) // s.sw * s.sw if some is not False else 0  # once more, up to the last column
        if some is not False and rest is not False:
            with k.when(some), k.when(rest):
                self._copy_together(lines, group, last)
        with k.loop("last", k.index_min(k.index_select(some, last + n, begin), right), right) as column:
            self._copy(lines, group, column)
        with k.loop("right", right, self.width) as column:
            self._pad(group, column)

    def _line(self, plane: Pointer, row: Index) -> tuple[Pointer, Index]:
        """Where the padded row would begin, and the bytes from a column to the next. A row that does not exist is the
        same padding everywhere."""
        k = self.k
        inside = is_inside(k, row, self.ih)
        line = plane.offset((row * self.iw - self.s.pl) * BLOCK)
        address = k.b.select(inside, line.value, self.padding.value)
        return Pointer(k, address, "u8"), Int(k, k.b.select(inside, k.i64(BLOCK), k.i64(0)))

    def _pad(self, group: Index, column: Index) -> None:
        self._store(group, column, [self.all_padding] * self.groups.parts)

    def _copy(self, lines: Sequence[tuple[Pointer, Index]], group: Index, column: Index) -> None:
        """One column."""
        self._store(group, column, self._cells([p.load(BLOCK, column * step) for p, step in lines]))

    def _store(self, group: Index, column: Index, cells: Sequence[Vec]) -> None:
        stride = self.s.sw
        for part, cell in enumerate(cells):
            self.cell(group, part, column % stride, column // stride).store(cell)

    def _copy_together(self, lines: Sequence[tuple[Pointer, Index]], group: Index, column: Index) -> None:
        """Columns that are multiplied at once, for each place in the stride; `column` is the first of them all."""
        stride, lanes = self.s.sw, self.groups.across * BLOCK
        starts = [p.offset(column * step) for p, step in lines]
        columns = [self._cells([p.load(lanes, i * lanes) for p in starts]) for i in range(stride)]
        for part, cells in enumerate(zip(*columns, strict=True)):
            for residue in range(stride):
                self.cell(group, part, residue, column // stride).store(self._every(cells, residue))

    def _every(self, cells: Sequence[Vec], residue: int) -> Vec:
        """Of the cells of two vectors (of one, if the stride is one) number residue, residue + stride, ..."""
        if len(cells) == 1 or self.groups.across == 1:
            return cells[residue]
        return every_second_part(cells[0], cells[1], self.groups.cell, residue)

    def _cells(self, rows: Sequence[Vec]) -> list[Vec]:
        """The cells of two or four rows of bytes `[columns][16]`, a vector for each part of the channels."""
        k, dtype = self.k, self.scratch.dtype
        if len(rows) == 2 and self.groups.parts == 1:  # two instructions that widen instead of four that interleave
            return [k.concatenate([k.convert(pairs, dtype) for pairs in _interleaved(*rows)])]
        if len(rows) == 2:
            nothing = k.const(0, "u8", rows[0].lanes)
            halves = [_interleaved(pairs, nothing) for pairs in _interleaved(*rows)]
        else:
            pairs = [[_as(k, x, "i16") for x in _interleaved(*rows[i : i + 2])] for i in (0, 2)]
            halves = [_interleaved(ab, cd) for ab, cd in zip(*pairs, strict=True)]
        quads = [_as(k, quad, dtype) for half in halves for quad in half]
        return quads if self.groups.parts > 1 else [k.concatenate(quads)]


def _interleaved(x: Vec, y: Vec) -> tuple[Vec, Vec]:
    """x0 y0 x1 y1 ... of the first halves of all 128 bits, and of the second."""
    per_part = _INTERLEAVED // ITEMSIZE[x.dtype]
    return interleave_parts(x, y, per_part, 0), interleave_parts(x, y, per_part, per_part // 2)


def _as(k: Kernel, x: Vec, dtype: str) -> Vec:
    """The same bits as lanes of another width."""
    lanes = x.lanes * ITEMSIZE[x.dtype] // ITEMSIZE[dtype]
    return Vec(k, k.b.bitcast(x.value, k.vector_type(dtype, lanes)), dtype, lanes)
