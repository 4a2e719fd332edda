"""Matrix product of plain (row-major) tensors: c[b, m, n] = epilogue(a[b, m, k] @ b[b, k, n] + bias[n]).

A constant `b` arrives packed in chunks of `nr` blocks of 16 columns. A run-time `b` is packed chunk by chunk into the
thread's scratch. An item is (batch, chunk, block of rows), chunks outermost: threads share the weights, and each is
read once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Tile
from magicmind.codegen.target import BLOCK, Target
from magicmind.kernels.contract import Ahead, multiply_accumulate, register_tiles, share_lines
from magicmind.kernels.epilogue import NO_EPILOGUE, Epilogue
from magicmind.kernels.spec import count_params
from magicmind.kernels.tiles import for_even_tiles
from magicmind.kernels.transpose import side, transpose

_ROWS_PER_ITEM = 56
_MANY_ROWS, _MANY_CHUNKS = 512, 8
"""Up to so many rows stay together where there are enough chunks of columns to divide: rows are then cut evenly into
register tiles, and a chunk of weights is fetched once."""
_TILES_AHEAD = 8
"""Row tiles that share the fetching of the next chunk where the number of rows is known at run time only."""


@dataclass(frozen=True)
class MatMulSchedule:
    """Register tile of `mr` rows by `nr` blocks of 16 columns; `rows` per item."""

    mr: int
    nr: int
    rows: int


@dataclass(frozen=True)
class MatMul:
    """Pointers: a, b (`pack_columns` when `packed`), bias (when `has_bias`, padded to whole blocks), operands, c.

    `batch` products; `a_batched`, `b_batched`: whether a and b change with it. `trans_a`, `trans_b`: stored as [k, m]
    and [n, k].
    """

    batch: Size
    m: Size
    n: Size
    k: Size
    schedule: MatMulSchedule
    packed: bool = True
    a_batched: bool = True
    b_batched: bool = True
    trans_a: bool = False
    trans_b: bool = False
    has_bias: bool = False
    epilogue: Epilogue = NO_EPILOGUE

    @property
    def name(self) -> str:
        kind = "" if self.packed else "_packing"
        tile = f"{self.schedule.mr}x{self.schedule.nr}"
        return f"f32_matmul{kind}_{self.m}x{self.n}x{self.k}_{tile}{self.epilogue.label}"

    def build(self, target: Target, symbol: str) -> Kernel:
        count = 3 + self.has_bias + len(self.epilogue.operands)
        k = Kernel(symbol, target, ["f32"] * count, count_params(self))
        _Emitter(k, self).emit()
        return k


def choose_matmul(target: Target, rows: object, columns: object = None) -> MatMulSchedule:
    """A few rows take a narrow tile, the rest the tile of the convolutions. Sizes may be known at run time only."""
    tiles = register_tiles(target)
    mr, nr = (6, 4) if isinstance(rows, int) and rows <= 6 and (6, 4) in tiles else tiles[0]
    if isinstance(columns, int) and columns >= _MANY_CHUNKS * nr * BLOCK:
        if not isinstance(rows, int):
            return MatMulSchedule(mr, nr, _MANY_ROWS)
        if rows <= _MANY_ROWS:
            return MatMulSchedule(mr, nr, max(rows, 1))
    return MatMulSchedule(mr, nr, _ROWS_PER_ITEM)


def matmul_candidates(target: Target, rows: object, columns: object = None) -> list[MatMulSchedule]:
    """`choose_matmul` first, then other row blocks, then other register tiles: what is worth measuring."""
    best = choose_matmul(target, rows, columns)
    most = min(rows, _MANY_ROWS) if isinstance(rows, int) else _MANY_ROWS
    blocks = [max(1, min(most, count)) for count in (most, _ROWS_PER_ITEM, 2 * _ROWS_PER_ITEM, _ROWS_PER_ITEM // 2)]
    others = [replace(best, rows=count) for count in blocks]
    others += [MatMulSchedule(mr, nr, best.rows) for mr, nr in register_tiles(target)]
    return list(dict.fromkeys([best, *others]))


class _Emitter:
    def __init__(self, k: Kernel, spec: MatMul) -> None:
        self.k, self.spec = k, spec
        self.a, self.b_in, *rest, self.c = k.pointers
        self.bias = rest.pop(0) if spec.has_bias else None
        self.extras = rest
        self.batch, self.m, self.n, self.depth = (k.size(v) for v in (spec.batch, spec.m, spec.n, spec.k))
        self.a_row: Index = 1 if spec.trans_a else self.depth
        self.a_column: Index = self.m if spec.trans_a else 1
        self.nr = spec.schedule.nr
        self.blocks = k.ceildiv(self.n, BLOCK)

    def emit(self) -> None:
        k = self.k
        rows: Index = self.spec.schedule.rows
        chunks = k.ceildiv(self.blocks, self.nr)
        row_blocks = k.ceildiv(self.m, rows)
        if not isinstance(self.m, int):
            rows = k.ceildiv(self.m, k.index_max(row_blocks, 1))
        first, last = k.thread_range(chunks * self.batch * row_blocks)
        with k.loop("item", first, last) as item:
            chunk, rest = item // (self.batch * row_blocks), item % (self.batch * row_blocks)
            image, row0 = rest // row_blocks, (rest % row_blocks) * rows
            count = k.index_min(self.m - row0, rows)
            self._each_width(chunk, image, row0, count)

    def _each_width(self, chunk: Index, image: Index, row0: Index, count: Index) -> None:
        """Full chunks have `nr` blocks; the last one what is left."""
        k = self.k
        left = self.blocks - chunk * self.nr
        if isinstance(self.blocks, int) and self.blocks % self.nr == 0:
            self._chunk(chunk, self.nr, image, row0, count)
            return
        widths = [self.blocks % self.nr] if isinstance(self.blocks, int) else list(range(1, self.nr))
        if not isinstance(self.blocks, int) or self.blocks > self.nr:
            with k.when(k.b.icmp_signed(">=", k.i64(left), k.i64(self.nr))):
                self._chunk(chunk, self.nr, image, row0, count)
        for width in widths:
            with k.when(k.b.icmp_signed("==", k.i64(left), k.i64(width))):
                self._chunk(chunk, width, image, row0, count)

    def _chunk(self, chunk: Index, nr: int, image: Index, row0: Index, count: Index) -> None:
        k, spec = self.k, self.spec
        block0 = chunk * self.nr
        b_image = image * (self.depth * self.n) if spec.b_batched else 0
        if spec.packed:
            b = self.b_in.offset(block0 * (self.depth * BLOCK))
        else:
            b = self._pack(self.b_in.offset(b_image), block0, nr)
        a_image = self.a.offset(image * (self.m * self.depth) if spec.a_batched else 0)

        def rows(first: Index, size: int) -> None:
            acc = k.tile("acc", size, nr)
            for j in range(nr):
                start = k.const(0.0, "f32", BLOCK)
                if self.bias is not None:
                    start = self.bias.load(BLOCK, (block0 + j) * BLOCK)
                for i in range(size):
                    acc[i, j] = start
            ahead = self._ahead(first, count, nr) if spec.packed else None
            self._reduce(acc, a_image.offset((row0 + first) * self.a_row), size, b, nr, ahead)
            self._store(acc, image, row0 + first, block0)

        for_even_tiles(k, "row", count, spec.schedule.mr, rows)

    def _ahead(self, first: Index, count: Index, nr: int) -> Ahead | None:
        """The part of the next chunk that the tile at row `first` asks for."""
        k, mr = self.k, self.spec.schedule.mr
        tiles = -(-count // mr) if isinstance(count, int) else _TILES_AHEAD
        if tiles < 3:  # too much to fetch at once: the memory streams it anyway
            return None
        lines = share_lines(nr, tiles)
        number = k.index_min(first // mr, tiles - 1)
        return Ahead(number * (lines * BLOCK) + self.depth * (nr * BLOCK), lines)

    def _reduce(self, acc: Tile, a: Pointer, rows: int, b: Pointer, nr: int, ahead: Ahead | None) -> None:
        k, depth = self.k, self.depth
        offsets = [self.a_row * i for i in range(rows)]
        whole = (depth // BLOCK) * BLOCK
        with k.loop("k", 0, whole, BLOCK) as kk:
            at = a.offset(kk * self.a_column)
            multiply_accumulate(k, acc, at, offsets, self.a_column, b.offset(kk * (nr * BLOCK)), BLOCK, nr, ahead)
        if isinstance(depth, int):
            if depth % BLOCK:
                at = a.offset(self.a_column * whole)
                multiply_accumulate(k, acc, at, offsets, self.a_column, b.offset(whole * nr * BLOCK), depth % BLOCK, nr)
            return
        with k.loop("k1", whole, depth) as kk:
            at = a.offset(kk * self.a_column)
            multiply_accumulate(k, acc, at, offsets, self.a_column, b.offset(kk * (nr * BLOCK)), 1, nr)

    def _pack(self, b: Pointer, block0: Index, nr: int) -> Pointer:
        """A chunk of a run-time `b` as [k][nr * 16] in scratch, zeros beyond the last column."""
        k = self.k
        if self.spec.trans_b:
            for j in range(nr):
                self._pack_turned(b, (block0 + j) * BLOCK, k.scratch.offset(j * BLOCK), nr * BLOCK)
            return k.scratch
        with k.loop("k", 0, self.depth) as kk:
            for j in range(nr):
                column = (block0 + j) * BLOCK
                to = k.scratch.offset((kk * nr + j) * BLOCK)
                to.store(b.load(BLOCK, kk * self.n + column, k.first_lanes(self.n - column, BLOCK)))
        return k.scratch

    def _pack_turned(self, b: Pointer, column: Index, to: Pointer, row: int) -> None:
        """16 columns of a `b` stored as [n, k]: squares turned in registers, element by element where none fits."""
        k, depth = self.k, self.depth
        size = side(k.target, "f32")
        left = self.n - column
        full = k.less(BLOCK - 1, left)
        with k.when(full):
            whole = depth // size * size
            with k.loop("square", 0, whole, size) as kk:
                for first in range(0, BLOCK, size):
                    source = b.offset((column + first) * depth + kk)
                    turned = transpose(k, [source.load(size, i * depth) for i in range(size)])
                    for i, vector in enumerate(turned):
                        to.store(vector, (kk + i) * row + first)
            self._pack_elements(b, column, to, row, whole, BLOCK)
        if full is not True:
            with k.when(k.less(left, BLOCK)):
                self._pack_elements(b, column, to, row, 0, left)

    def _pack_elements(self, b: Pointer, column: Index, to: Pointer, row: int, first: Index, width: Index) -> None:
        """Rows from `first` on of `width` columns, zeros beside them."""
        k = self.k
        with k.loop("k", first, self.depth) as kk:
            place = to.offset(kk * row)
            if not (isinstance(width, int) and width == BLOCK):
                place.store(k.const(0.0, "f32", BLOCK))
            with k.loop("column", 0, width) as c:
                place.store(b.load(1, (column + c) * self.depth + kk), c)

    def _store(self, acc: Tile, image: Index, row: Index, block0: Index) -> None:
        k = self.k
        for i, j in acc:
            column = (block0 + j) * BLOCK
            whole = isinstance(self.n, int) and self.n % BLOCK == 0
            mask = None if whole else k.first_lanes(self.n - column, BLOCK)
            out = (image * self.m + row + i) * self.n + column
            value = self.spec.epilogue.apply(k, acc[i, j], self.extras, out=out, channel=column, image=0, mask=mask)
            self.c.store(value, out, mask)
