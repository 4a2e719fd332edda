"""Matrix product of plain (row-major) tensors: c[b, m, n] = epilogue(a[b, m, k] @ b[b, k, n] + bias[n]).

A constant `b` arrives packed in chunks of `nr` blocks of 16 columns. A run-time `b` is packed chunk by chunk into the
thread's scratch. An item is (batch, chunks, block of rows), chunks outermost: threads share the weights, and each is
read once.

Operands that are not float32 (`matmul_operands.Types`) are multiplied where the target wants them: rows of `a` are
widened into scratch for a few chunks together; float16 weights are converted as they are read where few rows use them,
else a chunk at a time, in scratch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Tile, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.ir.dims import Dim, ceildiv
from magicmind.kernels.contract import Ahead, multiply_accumulate, register_tiles, share_lines
from magicmind.kernels.epilogue import NO_EPILOGUE, Epilogue
from magicmind.kernels.matmul_operands import F32, ColumnPacker, Format, Types, copy_rows, format_of, odd_lines
from magicmind.kernels.scalar import load_value, store_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.tiles import for_even_tiles

_ROWS_PER_ITEM = 56
_MANY_ROWS, _MANY_CHUNKS = 512, 8
"""Up to so many rows stay together where there are enough chunks of columns to divide: rows are then cut evenly into
register tiles, and a chunk of weights is fetched once."""
_TILES_AHEAD = 8
"""Row tiles that share the fetching of the next chunk where the number of rows is known at run time only."""
_ROWS_PER_COPY, _BLOCKS_PER_COPY = 256, 24
"""Rows copied to scratch together, and blocks of columns they are then multiplied with: enough for the copy, and the
conversion of float16 weights, to cost a few percent (128 x 768 x 3072 on Zen 3: 0.97 of float32; 64 and 8: 0.89)."""
_WAYS, _ONE_SET = 8, 4096
"""Lines that a set of the first-level cache holds at least, and how many bytes apart lines share one."""
_COLUMNS_COPIED = 64
"""Columns from which on a copy of such rows is faster: 128 x 768 of 3072, Zen 4: 99 to 115 GFLOP/s."""
_FEW_ROWS = 6
_STREAMED_TILES = 2
"""Up to so many row tiles convert float16 weights as they read them."""


@dataclass(frozen=True)
class MatMulSchedule:
    """Register tile of `mr` rows by `nr` blocks of 16 columns; `rows` and `chunks` of `nr` blocks per item.

    `copy`: the rows of `a` are copied although they could be multiplied as they lie.
    """

    mr: int
    nr: int
    rows: int
    chunks: int = 1
    copy: bool = False


@dataclass(frozen=True)
class MatMul:
    """Pointers: a, b (`pack_chunks` when `packed`), bias (when `has_bias`, padded to whole blocks), operands, c.

    `batch` products; `a_batched`, `b_batched`: whether a and b change with it. `trans_a`, `trans_b`: stored as [k, m]
    and [n, k]. `types`: elements of all of them; the bias is of the accumulator's type. `a_zero` and `b_zero` are taken
    off the numbers of a run-time product of bytes; those of a packed one are in its bias.
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
    types: Types = F32
    a_zero: int = 0
    b_zero: int = 0

    @property
    def name(self) -> str:
        kind = "" if self.packed else "_packing"
        tile = f"{self.schedule.mr}x{self.schedule.nr}"
        return f"{self.types.label}_matmul{kind}_{self.m}x{self.n}x{self.k}_{tile}{self.epilogue.label}"

    def build(self, target: Target, symbol: str) -> Kernel:
        bias = [self.types.accumulator] * self.has_bias
        dtypes = [self.types.a, self.types.b, *bias, *self.epilogue.types, self.types.out]
        k = Kernel(symbol, target, dtypes, count_params(self), contract=self.types.accumulator == "f32")
        _Emitter(k, self).emit()
        return k

    def scratch_bytes(self, target: Target, k: Dim) -> Dim:
        """Bytes per thread for a depth of `k`."""
        form = format_of(target, self.types, self.packed)
        depth = ceildiv(k, form.kr) * form.kr
        columns = depth * self.column_bytes(form)
        if not self.copies(form, k):
            return columns
        return columns + odd_lines(depth, form.a) * (self.schedule.rows * ITEMSIZE[form.a])

    def column_bytes(self, form: Format) -> int:
        """Bytes of one row of a chunk of `b` in scratch."""
        if self.packed:
            return self.schedule.nr * BLOCK * ITEMSIZE["f32"] if self.types.b == "f16" else 0
        return self.schedule.nr * BLOCK * ITEMSIZE[form.b]

    def copies(self, form: Format, k: object) -> bool:
        """Whether rows of `a` are copied: they have to be if they have other elements, or no whole groups of
        neighbours."""
        whole = form.kr == 1 or (isinstance(k, int) and k % form.kr == 0 and not self.trans_a)
        return self.schedule.copy or self.types.a != form.a or not whole or self.a_zero != 0


def choose_matmul(
    target: Target, rows: object, columns: object = None, types: Types = F32, depth: object = None
) -> MatMulSchedule:
    """A few rows take a narrow tile, the rest the tile of the convolutions. Sizes may be known at run time only."""
    mr, nr = _tile(target, rows, columns, types)
    collide = mr > _WAYS and _rows_collide(rows, columns, depth, types)
    if collide or types.a != "f32":
        chunks = -(-_blocks_per_copy(target, rows, columns) // nr)
        return MatMulSchedule(mr, nr, _even(rows, _ROWS_PER_COPY), chunks, copy=collide)
    if isinstance(columns, int) and columns >= _MANY_CHUNKS * nr * BLOCK:
        if not isinstance(rows, int):
            return MatMulSchedule(mr, nr, _MANY_ROWS)
        if rows <= _MANY_ROWS:
            return MatMulSchedule(mr, nr, max(rows, 1))
    return MatMulSchedule(mr, nr, _ROWS_PER_ITEM)


def _rows_collide(rows: object, columns: object, depth: object, types: Types) -> bool:
    """Whether the rows of `a` that a register tile reads share a set of the first-level cache, and there are enough
    products for a copy of them to pay."""
    few = isinstance(rows, int) and rows <= _WAYS
    wide = isinstance(columns, int) and columns >= _COLUMNS_COPIED
    return not few and wide and isinstance(depth, int) and depth * ITEMSIZE[types.a] % _ONE_SET == 0


def _tile(target: Target, rows: object, columns: object, types: Types) -> tuple[int, int]:
    tiles = register_tiles(target, types.accumulator)
    if not isinstance(rows, int) or rows > _FEW_ROWS:
        return tiles[0]
    if (_FEW_ROWS, 4) in tiles:
        return _FEW_ROWS, 4
    mr, nr = tiles[0]
    return (rows, _even_width(target, mr * nr // rows, columns)) if 0 < rows < mr else tiles[0]


def _even_width(target: Target, most: int, columns: object) -> int:
    """Blocks of a tile of few rows: as many as fit, or fewer where the threads' shares would differ much."""
    if not isinstance(columns, int):
        return most
    blocks = -(-columns // BLOCK)
    largest_share = {nr: -(-blocks // (nr * target.threads)) * nr for nr in range(most, max(most // 2, 1) - 1, -1)}
    return next(nr for nr, share in largest_share.items() if share <= 1.05 * min(largest_share.values()))


def _even(rows: object, most: int) -> int:
    """Rows of an item: at most `most`, and as many in each."""
    return -(-rows // -(-rows // most)) if isinstance(rows, int) and rows > 0 else most


def _blocks_per_copy(target: Target, rows: object, columns: object) -> int:
    """Blocks of columns of an item: few where rows are few, else so that the items fall evenly on the threads."""
    if not isinstance(columns, int) or (isinstance(rows, int) and rows <= _FEW_ROWS):
        return 4
    blocks = -(-columns // BLOCK)
    row_blocks = max(1, -(-rows // _ROWS_PER_COPY)) if isinstance(rows, int) else 1
    groups = max(target.threads // row_blocks, -(-blocks // _BLOCKS_PER_COPY), 1)
    if row_blocks == 1:
        groups = -(-groups // target.threads) * target.threads
    return max(4, -(-blocks // groups))


def matmul_candidates(
    target: Target, rows: object, columns: object = None, types: Types = F32, depth: object = None
) -> list[MatMulSchedule]:
    """`choose_matmul` first, then other row blocks, then other register tiles: what is worth measuring."""
    best = choose_matmul(target, rows, columns, types, depth)
    most = min(rows, _MANY_ROWS) if isinstance(rows, int) else _MANY_ROWS
    blocks = [max(1, min(most, count)) for count in (most, _ROWS_PER_ITEM, 2 * _ROWS_PER_ITEM, _ROWS_PER_ITEM // 2)]
    copies = types.a != "f32" or best.copy
    others = [replace(best, rows=count) for count in blocks if not copies or count <= 2 * _ROWS_PER_ITEM]
    blocks_per_item = best.chunks * best.nr
    others += [
        replace(best, mr=mr, nr=nr, chunks=best.chunks if best.chunks == 1 else -(-blocks_per_item // nr))
        for mr, nr in register_tiles(target, types.accumulator)
    ]
    return list(dict.fromkeys([best, *others]))


@dataclass(frozen=True)
class _Rows:
    """Rows of `a` where they are multiplied, in memory or in scratch: strides of rows and columns."""

    start: Pointer
    row: Index
    column: Index

    def offset(self, row: Index) -> Pointer:
        return self.start.offset(row * self.row)


class _Emitter:
    def __init__(self, k: Kernel, spec: MatMul) -> None:
        self.k, self.spec = k, spec
        self.a, self.b_in, *rest, self.c = k.pointers
        self.bias = rest.pop(0) if spec.has_bias else None
        self.extras = rest
        self.batch, self.m, self.n, self.depth = (k.size(v) for v in (spec.batch, spec.m, spec.n, spec.k))
        self.nr = spec.schedule.nr
        self.blocks = k.ceildiv(self.n, BLOCK)
        self.form = format_of(k.target, spec.types, spec.packed)
        self.copies = spec.copies(self.form, spec.k)
        self.padded = k.ceildiv(self.depth, self.form.kr) * self.form.kr

    def emit(self) -> None:
        k, together = self.k, self.spec.schedule.chunks
        rows: Index = self.spec.schedule.rows
        chunks = k.ceildiv(self.blocks, self.nr)
        groups = k.ceildiv(chunks, together)
        row_blocks = k.ceildiv(self.m, rows)
        if not isinstance(self.m, int):
            rows = k.ceildiv(self.m, k.index_max(row_blocks, 1))
        first, last = k.thread_range(groups * self.batch * row_blocks)
        with k.loop("item", first, last) as item:
            group, rest = item // (self.batch * row_blocks), item % (self.batch * row_blocks)
            image, row0 = rest // row_blocks, (rest % row_blocks) * rows
            count = k.index_min(self.m - row0, rows)
            a = self._rows(image, row0, count)
            if together == 1:
                self._each_width(group, image, a, row0, count)
                return
            first_chunk = group * together
            with k.loop("chunk", first_chunk, k.index_min(first_chunk + together, chunks)) as chunk:
                self._each_width(chunk, image, a, row0, count)

    def _rows(self, image: Index, row0: Index, count: Index) -> _Rows:
        """The item's rows of `a`."""
        k, spec = self.k, self.spec
        strides: tuple[Index, Index] = (1, self.m) if spec.trans_a else (self.depth, 1)
        start = self.a.offset(image * (self.m * self.depth) if spec.a_batched else 0).offset(row0 * strides[0])
        if not self.copies:
            return _Rows(start, *strides)
        after_columns = k.scratch.cast("i8").offset(self.padded * spec.column_bytes(self.form))
        to = after_columns.cast(self.form.a)
        row = odd_lines(self.padded, self.form.a)
        copy_rows(k, start, strides, count, (self.depth, self.padded, row), to, spec.a_zero)
        return _Rows(to, row, 1)

    def _each_width(self, chunk: Index, image: Index, a: _Rows, row0: Index, count: Index) -> None:
        """Full chunks have `nr` blocks; the last one what is left."""
        k = self.k
        left = self.blocks - chunk * self.nr
        if isinstance(self.blocks, int) and self.blocks % self.nr == 0:
            self._chunk(chunk, self.nr, image, a, row0, count)
            return
        widths = [self.blocks % self.nr] if isinstance(self.blocks, int) else list(range(1, self.nr))
        if not isinstance(self.blocks, int) or self.blocks > self.nr:
            with k.when(k.b.icmp_signed(">=", k.i64(left), k.i64(self.nr))):
                self._chunk(chunk, self.nr, image, a, row0, count)
        for width in widths:
            with k.when(k.b.icmp_signed("==", k.i64(left), k.i64(width))):
                self._chunk(chunk, width, image, a, row0, count)

    def _chunk(self, chunk: Index, nr: int, image: Index, a: _Rows, row0: Index, count: Index) -> None:
        block0 = chunk * self.nr
        for b in self._columns(image, block0, nr, count):
            self._tiles(b, block0, nr, image, a, row0, count)

    def _columns(self, image: Index, block0: Index, nr: int, count: Index) -> Iterator[Pointer]:
        """The chunk of `b` as it is multiplied; yields twice, in two branches, where the number of rows decides."""
        k, spec = self.k, self.spec
        if not spec.packed:
            yield self._pack(image, block0, nr)
            return
        b = self.b_in.offset(block0 * (self.padded * BLOCK))
        if spec.types.b != "f16":
            yield b
            return
        few = k.less(count, _STREAMED_TILES * spec.schedule.mr + 1)
        if few is not False:
            with k.when(few):
                yield b
        if few is not True:
            with k.when(k.less(_STREAMED_TILES * spec.schedule.mr, count)):
                with k.loop("widened", 0, self.depth * (nr * BLOCK), BLOCK) as i:
                    k.scratch.store(load_value(b, BLOCK, i), i)
                yield k.scratch

    def _pack(self, image: Index, block0: Index, nr: int) -> Pointer:
        """A chunk of a run-time `b` in scratch."""
        k, spec = self.k, self.spec
        b = self.b_in.offset(image * (self.depth * self.n) if spec.b_batched else 0)
        to = k.scratch.cast(self.form.b)
        packer = ColumnPacker(k, b, self.depth, self.n, self.form.kr, to, spec.b_zero)
        pack = packer.turned if spec.trans_b else packer.rows
        pack(block0 * BLOCK, nr)
        return to

    def _tiles(self, b: Pointer, block0: Index, nr: int, image: Index, a: _Rows, row0: Index, count: Index) -> None:
        k = self.k
        sums = self.spec.types.accumulator

        def rows(first: Index, size: int) -> None:
            acc = k.tile("acc", size, nr, dtype=sums)
            for j in range(nr):
                start = k.const(0, sums, BLOCK)
                if self.bias is not None:
                    start = self.bias.load(BLOCK, (block0 + j) * BLOCK)
                for i in range(size):
                    acc[i, j] = start
            ahead = self._ahead(first, count, nr) if b.dtype == "f32" and self.spec.packed else None
            self._reduce(acc, a, first, size, b, nr, ahead)
            self._store(acc, nr, image, row0 + first, block0)

        for_even_tiles(k, "row", count, self.spec.schedule.mr, rows)

    def _ahead(self, first: Index, count: Index, nr: int) -> Ahead | None:
        """The part of the next chunk that the tile at row `first` asks for."""
        k, mr = self.k, self.spec.schedule.mr
        tiles = -(-count // mr) if isinstance(count, int) else _TILES_AHEAD
        if tiles < 3:  # too much to fetch at once: the memory streams it anyway
            return None
        lines = share_lines(nr, tiles)
        number = k.index_min(first // mr, tiles - 1)
        return Ahead(number * (lines * BLOCK) + self.depth * (nr * BLOCK), lines)

    def _reduce(self, acc: Tile, a: _Rows, first: Index, size: int, b: Pointer, nr: int, ahead: Ahead | None) -> None:
        k, depth = self.k, self.depth
        start = a.offset(first)
        offsets = [a.row * i for i in range(size)]

        def steps(at: Index, count: int, ahead: Ahead | None = None) -> None:
            rows, columns = start.offset(at * a.column), b.offset(at * (nr * BLOCK))
            multiply_accumulate(k, acc, rows, offsets, a.column, columns, count, nr, ahead)

        whole = (depth // BLOCK) * BLOCK
        with k.loop("k", 0, whole, BLOCK) as kk:
            steps(kk, BLOCK, ahead)
        if isinstance(depth, int):
            if depth % BLOCK:
                steps(whole, depth % BLOCK)
            return
        with k.loop("k1", whole, self.padded, self.form.kr) as kk:
            steps(kk, self.form.kr)

    def _store(self, acc: Tile, nr: int, image: Index, row: Index, block0: Index) -> None:
        """The epilogue of the tile. Only the last block may be cut off."""
        k = self.k
        for j in range(nr):
            column = (block0 + j) * BLOCK
            left = self.n - column
            if j < nr - 1 or (isinstance(self.n, int) and self.n % BLOCK == 0):
                self._store_block(acc, j, image, row, column, None)
            elif k.target.lanes == BLOCK:
                self._store_block(acc, j, image, row, column, k.first_lanes(left, BLOCK))
            else:  # masks are slow without AVX-512
                with k.when(k.less(BLOCK - 1, left)):
                    self._store_block(acc, j, image, row, column, None)
                with k.when(k.less(left, BLOCK)):
                    self._store_block(acc, j, image, row, column, k.first_lanes(left, BLOCK))

    def _store_block(self, acc: Tile, j: int, image: Index, row: Index, column: Index, mask: Vec | None) -> None:
        k = self.k
        for i in (i for i, block in acc if block == j):
            out = (image * self.m + row + i) * self.n + column
            value = self.spec.epilogue.apply(k, acc[i, j], self.extras, out=out, channel=column, image=0, mask=mask)
            store_value(self.c, value, out, mask)
