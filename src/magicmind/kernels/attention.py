"""Attention without its score matrix: out = softmax(scale q k^T + mask) v for every batch and head.

An item is 32 queries (two vectors of 16) of one head. The queries stand in the *lanes*: scores are computed turned,
[key][query], from scalars of k and turned queries, and so are the results, [column][query], from scalars of v and
the exponentials just as they lie in scratch. Nothing else has to be packed, maxima and sums of the softmax are taken
lane by lane, and k and v may lie in memory in any order of their axes.

Keys come in blocks whose scores fit the first-level cache, with a running maximum and sum per query (online softmax:
Milakov and Gimelshein 2018; Dao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from magicmind.codegen import math as vm
from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Tile
from magicmind.codegen.loops import vector_loop
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import Vec
from magicmind.ir.dims import Dim, ceildiv
from magicmind.kernels.contract import multiply_accumulate, register_tiles
from magicmind.kernels.scalar import load_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.tiles import for_tiles
from magicmind.kernels.turn import turn
from magicmind.kernels.work import share, unravel

KEYS_PER_BLOCK = 128
"""The scores of a block take 16 KiB."""
_FEW_KEYS, _CHUNKS = 512, 8


@dataclass(frozen=True)
class View:
    """Elements from one batch, head, row and column of an operand to the next; 0 where it does not change."""

    batch: Size
    head: Size
    row: Size
    column: Size = 1


@dataclass(frozen=True)
class Mask:
    """What is done to a score: added to it (float32), or, where a bool is false, put in its place (`fill`).

    `column` of the view is 1; `row` is 0 where all queries share a row.
    """

    view: View
    fill: float | None = None

    @property
    def dtype(self) -> str:
        return "f32" if self.fill is None else "bool"


@dataclass(frozen=True)
class Attention:
    """Pointers: q, k, v, mask (when `mask`), out; all but the mask of `dtype`, float32 or float16.

    `depth` columns of q and k, `width` columns of v and out; `column` of q and out is 1. `group` heads of q share one
    of k and v. `causal`: query i sees the keys up to i + causal. A query without a single finite score gives zeros
    (`zero_masked`) or NaN as Softmax does; without any keys it gives zeros. An item has `chunks` chunks of queries.
    """

    batch: Size
    heads: Size
    queries: Size
    keys: Size
    depth: Size
    width: Size
    q: View
    k: View
    v: View
    out: View
    scale: float = 1.0
    group: Size = 1
    mask: Mask | None = None
    causal: Size | None = None
    zero_masked: bool = False
    chunks: int = 1
    dtype: str = "f32"

    @property
    def name(self) -> str:
        mask = "" if self.mask is None else f"_{self.mask.dtype}_mask"
        causal = "" if self.causal is None else "_causal"
        dtype = "" if self.dtype == "f32" else f"{self.dtype}_"
        return f"attention_{dtype}{self.heads}x{self.queries}x{self.keys}x{self.depth}{mask}{causal}"

    def build(self, target: Target, symbol: str) -> Kernel:
        mask = [] if self.mask is None else [self.mask.dtype]
        k = Kernel(symbol, target, [self.dtype] * 3 + [*mask, self.dtype], count_params(self))
        _Emitter(k, self).emit()
        return k


def choose_chunks(keys: object) -> int:
    """Chunks of queries per item. Few keys stay in the second-level cache by themselves; of many, each block is used
    for several chunks once it is there."""
    return 1 if isinstance(keys, int) and keys <= _FEW_KEYS else _CHUNKS


def scratch_bytes(target: Target, chunks: int, depth: Dim, keys: Dim, width: Dim, dtype: str) -> Dim:
    """Scores of a block, for every chunk its turned queries, results, maxima and sums; where memory has float16, k
    and v of a block in float32."""
    block = min(keys, KEYS_PER_BLOCK) if isinstance(keys, int) else KEYS_PER_BLOCK
    row = register_tiles(target)[0][1] * BLOCK
    rows = block + (depth + width + 2) * chunks
    return (rows + (ceildiv((depth + width) * block, row) if dtype != "f32" else 0)) * (row * 4)


class _Emitter:
    def __init__(self, k: Kernel, spec: Attention) -> None:
        self.k, self.spec = k, spec
        self.q, self.keys_in, self.v, *rest, self.out = k.pointers
        self.mask_in = rest[0] if rest else None
        self.batch, self.heads, self.queries, self.keys, self.depth, self.width = (
            k.size(x) for x in (spec.batch, spec.heads, spec.queries, spec.keys, spec.depth, spec.width)
        )
        self.blocks = register_tiles(k.target)[0][1]
        self.widens = spec.dtype != "f32"
        self.work = self.wide_keys = self.wide_values = k.scratch
        if self.widens:
            block = k.index_min(self.keys, KEYS_PER_BLOCK)
            row = self.blocks * BLOCK
            self.work = k.scratch.offset(k.ceildiv((self.depth + self.width) * block, row) * row)
            self.wide_values = self.wide_keys.offset(self.depth * block)

    def emit(self) -> None:
        """Deals out items of some chunks of queries. A chunk has `blocks` vectors, the last of a head maybe fewer."""
        k, per_item = self.k, self.spec.chunks
        chunks = k.ceildiv(self.queries, self.blocks * BLOCK)
        items = k.ceildiv(chunks, per_item)
        cost = self.keys * (self.depth + self.width) * (self.blocks * per_item)
        first, last = share(k, self.batch * self.heads * items, cost)
        with k.loop("item", first, last) as item:
            batch, head, group = unravel(item, [self.batch, self.heads, items])
            start = group * per_item
            count = 1 if per_item == 1 else k.index_min(chunks - start, per_item)
            self._item(batch, head, start, count)

    def _item(self, batch: Index, head: Index, start: Index, count: Index) -> None:
        """`count` chunks from `start` on: prepare all, take every block of keys to all, finish all."""
        k = self.k

        def each(action: Callable[[_Chunk], None]) -> None:
            with k.loop("chunk", 0, count) as slot:
                query = (start + slot) * (self.blocks * BLOCK)
                self._each_width(query, lambda left, nr: action(_Chunk(self, batch, head, query, left, slot, nr)))

        each(_Chunk.prepare)
        end = self.keys
        if self.spec.causal is None and isinstance(end, int):
            whole = end // KEYS_PER_BLOCK * KEYS_PER_BLOCK
            with k.loop("keys", 0, whole, KEYS_PER_BLOCK) as key:
                self._widen(batch, head, key, KEYS_PER_BLOCK)
                each(lambda c: _Block(c, key, KEYS_PER_BLOCK).emit())
            if end > whole:
                self._widen(batch, head, whole, end - whole)
                each(lambda c: _Block(c, whole, end - whole).emit())
        else:
            end = self.visible((start + count) * (self.blocks * BLOCK))
            with k.loop("keys", 0, end, KEYS_PER_BLOCK) as key:
                self._widen(batch, head, key, k.index_min(end - key, KEYS_PER_BLOCK))
                each(lambda c: c.some_keys(key))
        each(_Chunk.finish)

    def _widen(self, batch: Index, head: Index, key: Index, count: Index) -> None:
        """Float16 keys and values of a block as float32 in scratch: all queries of the item multiply by them."""
        if not self.widens:
            return
        own = head // self.k.size(self.spec.group)
        for source, view, columns, to in (
            (self.keys_in, self.spec.k, self.depth, self.wide_keys),
            (self.v, self.spec.v, self.width, self.wide_values),
        ):
            first = self.at(source, view, batch, own, key)
            copy_widened(self.k, first, self.k.size(view.row), self.k.size(view.column), count, columns, to)

    def at(self, p: Pointer, view: View, batch: Index, head: Index, row: Index) -> Pointer:
        """The first column of a row of an operand."""
        k = self.k
        return p.offset(batch * k.size(view.batch) + head * k.size(view.head) + row * k.size(view.row))

    def visible(self, query: Index) -> Index:
        """Keys that the queries before `query` see."""
        k = self.k
        if self.spec.causal is None:
            return self.keys
        return k.index_max(k.index_min(self.keys, query + k.size(self.spec.causal)), 0)

    def _each_width(self, query: Index, body: Callable[[Index, int], None]) -> None:
        """Calls `body(queries, vectors)` for the width of the chunk at `query`."""
        k, blocks = self.k, self.blocks
        left = self.queries - query
        for width in range(1, blocks + 1):
            if isinstance(self.queries, int) and not _occurs(self.queries, blocks, width):
                continue
            needed = k.index_min(k.ceildiv(left, BLOCK), blocks)
            with k.when(k.equal(needed, width)):
                body(k.index_min(left, width * BLOCK), width)


def copy_widened(
    k: Kernel, source: Pointer, row: Index, column: Index, rows: Index, columns: Index, to: Pointer
) -> None:
    """to[r, c] = source[r * row + c * column] in float32, `to` contiguous."""
    with k.loop("row", 0, rows) as r:
        here, there = source.offset(r * row), to.offset(r * columns)
        if isinstance(column, int) and column == 1:
            vector_loop(k, "c", 0, columns, lambda c, n, mask: there.store(load_value(here, n, c, mask), c, mask))
        else:
            with k.loop("c", 0, columns) as c:
                there.store(load_value(here, 1, c * column), c)


def _occurs(queries: int, blocks: int, width: int) -> bool:
    """Whether `queries`, cut into chunks of `blocks` vectors, leave a chunk of `width` vectors."""
    last = -(-queries // BLOCK) % blocks
    return width == last or (width == blocks and queries > last * BLOCK)


class _Chunk:
    """Up to `nr` vectors of queries of one head; `slot` tells the chunks of an item apart."""

    def __init__(
        self, e: _Emitter, batch: Index, head: Index, query: Index, count: Index, slot: Index, nr: int
    ) -> None:
        k = e.k
        self.e, self.k, self.spec, self.nr, self.query, self.count = e, k, e.spec, nr, query, count
        wide, blocks = register_tiles(k.target)[0]
        self.mr = wide * blocks // nr
        self.row = nr * BLOCK  # of everything in scratch
        own = head // k.size(e.spec.group)
        self.q = e.at(e.q, e.spec.q, batch, head, query)
        self.out = e.at(e.out, e.spec.out, batch, head, query)
        self.keys_in = e.at(e.keys_in, e.spec.k, batch, own, 0)
        self.v = e.at(e.v, e.spec.v, batch, own, 0)
        self.mask = e.mask_in
        if e.mask_in is not None and e.spec.mask is not None:
            self.mask = e.at(e.mask_in, e.spec.mask.view, batch, head, query)
        widest = blocks * BLOCK
        self.scores = e.work
        first = k.index_min(e.keys, KEYS_PER_BLOCK) + slot * (e.depth + e.width + 2)
        self.turned = e.work.offset(first * widest)
        self.result = self.turned.offset(e.depth * widest)
        self.top = self.result.offset(e.width * widest)
        self.total = self.top.offset(widest)

    @property
    def partial(self) -> bool:
        """Whether lanes may be left over. What lies there could be denormal, which is slow: they are cleared."""
        return not (isinstance(self.e.queries, int) and self.e.queries % self.row == 0)

    def clear(self, p: Pointer, rows: Index) -> None:
        k = self.k
        with k.loop("clear", 0, rows * self.row, BLOCK) as i:
            p.store(k.const(0.0, "f32", BLOCK), i)

    def prepare(self) -> None:
        """Turns and scales the queries; no results yet."""
        k, scale = self.k, self.spec.scale
        if self.partial:
            self.clear(self.turned, self.e.depth)

        def scaled(v: Vec) -> Vec:
            return v if scale == 1 else v * scale

        turn(k, self.q, k.size(self.spec.q.row), self.count, self.e.depth, self.turned, self.row, scaled)
        self.clear(self.result, self.e.width)
        # The sum over no keys divides a zero.
        none = k.number(k.index_select(k.equal(self.e.keys, 0), 1, 0), "f32")
        for j in range(self.nr):
            self.top.store(k.const(-inf, "f32", BLOCK), j * BLOCK)
            self.total.store(k.broadcast(none, BLOCK), j * BLOCK)

    def some_keys(self, key: Index) -> None:
        """The block at `key`, as many of its keys as there are and the last query may see."""
        k = self.k
        left = self.e.visible(self.query + self.row) - key
        with k.when(k.less(KEYS_PER_BLOCK - 1, left)):
            _Block(self, key, KEYS_PER_BLOCK).emit()
        with k.when(k.less(left, KEYS_PER_BLOCK)), k.when(k.less(0, left)):
            _Block(self, key, left).emit()

    def finish(self) -> None:
        """Divides by the sums and stores the results turned back."""
        k = self.k
        factors = []
        for j in range(self.nr):
            total = self.total.load(BLOCK, j * BLOCK)
            factor = 1.0 / total
            if self.spec.zero_masked:
                factor = k.select(total.compare("==", 0.0), k.const(0.0, "f32", BLOCK), factor)
            factors.append(factor)
        with k.loop("column", 0, self.e.width) as c:
            for j in range(self.nr):
                at = c * self.row + j * BLOCK
                self.result.store(self.result.load(BLOCK, at) * factors[j], at)
        turn(k, self.result, self.row, self.e.width, self.count, self.out, k.size(self.spec.out.row))

    def reduce(self, acc: Tile, a: Pointer, offsets: Sequence[Index], stride: Index, b: Pointer, depth: Index) -> None:
        """acc[i, j] += sum over c of a[offsets[i] + c * stride] * b[c, j]."""
        k, nr = self.k, self.nr
        whole = depth // BLOCK * BLOCK
        if not (isinstance(whole, int) and whole == 0):
            with k.loop("k", 0, whole, BLOCK) as c:
                multiply_accumulate(k, acc, a.offset(c * stride), offsets, stride, b.offset(c * self.row), BLOCK, nr)
        if isinstance(depth, int):
            if depth % BLOCK:
                at, rows = a.offset(stride * whole), b.offset(whole * self.row)
                multiply_accumulate(k, acc, at, offsets, stride, rows, depth % BLOCK, nr)
            return
        with k.loop("k1", whole, depth) as c:
            multiply_accumulate(k, acc, a.offset(c * stride), offsets, stride, b.offset(c * self.row), 1, nr)


class _Block:
    """Keys `key` up to `key + count` for the queries of a chunk."""

    def __init__(self, chunk: _Chunk, key: Index, count: Index) -> None:
        self.c, self.k, self.spec, self.nr, self.key, self.count = (
            chunk, chunk.k, chunk.spec, chunk.nr, key, count,
        )  # fmt: skip
        e, k, spec, mask = chunk.e, chunk.k, chunk.spec, chunk.spec.mask
        self.key_row, self.key_column = k.size(spec.k.row), k.size(spec.k.column)
        self.value_row, self.value_column = k.size(spec.v.row), k.size(spec.v.column)
        self.keys, self.values = chunk.keys_in.offset(key * self.key_row), chunk.v.offset(key * self.value_row)
        if e.widens:
            self.key_row, self.value_row = e.depth, e.width
            self.key_column = self.value_column = 1
            self.keys, self.values = e.wide_keys, e.wide_values
        self.mask_rows = mask is not None and mask.view.row != 0

    def emit(self) -> None:
        k, c = self.k, self.c
        if self.mask_rows:
            self._turn_mask()
        peak = k.tile("peak", self.nr)
        old = [c.top.load(BLOCK, j * BLOCK) for j in range(self.nr)]
        for j in range(self.nr):
            peak[j,] = old[j]
        for_tiles(k, "key", self.count, c.mr, lambda first, size: self._scores(first, size, peak))
        safe = [self._finite(peak[j,]) for j in range(self.nr)]
        shrink = [vm.exp_of_negative(old[j] - safe[j]) for j in range(self.nr)]
        for j in range(self.nr):
            c.top.store(peak[j,], j * BLOCK)
        self._exponentials(safe, shrink)
        for_tiles(k, "column", c.e.width, c.mr, lambda first, size: self._values(first, size, shrink))

    def _turn_mask(self) -> None:
        """The mask of this block, one vector of queries per key, where the scores will be."""
        k, c = self.k, self.c
        assert c.mask is not None and self.spec.mask is not None
        if c.partial:
            c.clear(c.scores, self.count)
        source, row = c.mask.offset(self.key), k.size(self.spec.mask.view.row)
        turn(k, source, row, c.count, self.count, c.scores, c.row, lambda v: k.convert(v, "f32"))

    def _scores(self, first: Index, size: int, peak: Tile) -> None:
        """`size` keys from `first` of the block on."""
        k, c, nr = self.k, self.c, self.nr
        acc = k.tile("acc", size, nr)
        additive = self.spec.mask is not None and self.spec.mask.fill is None
        for i, j in acc:
            acc[i, j] = self._mask(first + i, j) if additive else k.const(0.0, "f32", BLOCK)
        row = self.key_row
        c.reduce(
            acc, self.keys.offset(first * row), [row * i for i in range(size)], self.key_column, c.turned, c.e.depth
        )
        for i, j in acc:
            score = self._limit(acc[i, j], first + i, j)
            c.scores.store(score, (first + i) * c.row + j * BLOCK)
            peak[j,] = k.max(peak[j,], score)

    def _mask(self, key: Index, j: int) -> Vec:
        """The mask of one key of the block for vector `j` of queries."""
        c = self.c
        assert c.mask is not None
        if self.mask_rows:
            return c.scores.load(BLOCK, key * c.row + j * BLOCK)
        return self.k.broadcast(c.mask.load(1, self.key + key), BLOCK)

    def _limit(self, score: Vec, key: Index, j: int) -> Vec:
        """The score, or what stands in its place for a key that is hidden from the query."""
        k, c, mask = self.k, self.c, self.spec.mask
        if mask is not None and mask.fill is not None:
            keep = self._mask(key, j)
            keep = keep if keep.dtype == "bool" else keep.compare("!=", 0.0)
            score = k.select(keep, score, k.const(mask.fill, "f32", BLOCK))
        if self.spec.causal is not None:
            # Relative to the first query of the vector, so that 32 bits are enough for the lanes.
            position = self.key + key - (c.query + j * BLOCK) - k.size(self.spec.causal)
            later = k.iota(BLOCK, "i32").compare("<", k.broadcast(k.number(position, "i32"), BLOCK))
            score = k.select(later, k.const(-inf, "f32", BLOCK), score)
        return score

    def _finite(self, peak: Vec) -> Vec:
        """What to subtract from scores: zero where all are -inf, so that their exponentials are zero."""
        return self.k.select(peak.compare("==", -inf), self.k.const(0.0, "f32", BLOCK), peak)

    def _exponentials(self, safe: list[Vec], shrink: list[Vec]) -> None:
        """Scores become exp(score - maximum), and are summed up."""
        k, c = self.k, self.c
        total = k.tile("total", self.nr)
        for j in range(self.nr):
            total[j,] = c.total.load(BLOCK, j * BLOCK) * shrink[j]
        with k.loop("key", 0, self.count) as key:
            for j in range(self.nr):
                at = key * c.row + j * BLOCK
                e = vm.exp_of_negative(c.scores.load(BLOCK, at) - safe[j])
                c.scores.store(e, at)
                total[j,] = total[j,] + e
        for j in range(self.nr):
            c.total.store(total[j,], j * BLOCK)

    def _values(self, first: Index, size: int, shrink: list[Vec]) -> None:
        """`size` columns of v from `first` on."""
        k, c, nr = self.k, self.c, self.nr
        acc = k.tile("acc", size, nr)
        for i, j in acc:
            acc[i, j] = c.result.load(BLOCK, (first + i) * c.row + j * BLOCK) * shrink[j]
        column = self.value_column
        source = self.values.offset(first * column)
        c.reduce(acc, source, [column * i for i in range(size)], self.value_row, c.scores, self.count)
        for i, j in acc:
            c.result.store(acc[i, j], (first + i) * c.row + j * BLOCK)
