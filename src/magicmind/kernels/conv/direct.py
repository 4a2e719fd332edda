"""Direct convolution on the blocked layout.

An item is (group of output channel chunks, image, block of output rows). Unless the convolution is pointwise and of a
type that is multiplied as it lies in memory, the input rows an item needs are first copied (`rows.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Tile
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.ir.dims import Dim
from magicmind.kernels.contract import Ahead, line_elements, multiply_accumulate, whole_steps
from magicmind.kernels.conv.load import Load
from magicmind.kernels.conv.rows import RowCopy, Rows, RowSource
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import F32, ConvTypes
from magicmind.kernels.epilogue import NO_EPILOGUE, Epilogue
from magicmind.kernels.scalar import load_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.tiles import for_even_tiles
from magicmind.kernels.work import even_items


@dataclass(frozen=True)
class DirectSchedule:
    """Register tile of `mr` pixels by `nr` blocks of output channels; `rows` output rows per item; `chunks` columns of
    register tiles (nr blocks each) per item, so that their weights stay in cache over the item's pixels.

    `ahead`: cache lines of the next chunk's weights that every register tile asks for per 16 input channels, or 0.
    `unpack`: float16 weights of a chunk become float32 in scratch before its register tiles read them.
    """

    mr: int
    nr: int
    rows: int
    chunks: int
    ahead: int = 0
    unpack: bool = False


@dataclass(frozen=True)
class DirectConv:
    """y = epilogue(conv(x, w) + bias).

    Pointers: x, w (`pack_direct`, or `pack_few_channels` with a `load`), bias, epilogue operands, y (blocked).
    `load`: x is row-major, with few channels (the first layer), and this is how it is read.
    """

    shape: ConvShape
    schedule: DirectSchedule
    epilogue: Epilogue = NO_EPILOGUE
    load: Load | None = None
    types: ConvTypes = F32

    @property
    def name(self) -> str:
        kind = "conv" if self.load is None else "conv_first"
        if self.load not in (None, Load(self.types.x)):
            kind += f"_{self.load}"
        tile = f"{self.schedule.mr}x{self.schedule.nr}"
        return f"{self.types.x}_{kind}_{self.shape}_{tile}{self.epilogue.label}"

    @property
    def copy(self) -> RowCopy:
        """The input rows of an item."""
        return RowCopy(self.shape, self.types, self.schedule.rows, self.load)

    def block_weights(self, target: Target) -> int:
        """Packed weights of one block of output channels, in elements."""
        s, run = self.shape, self.copy.run
        if self.load is not None:
            return s.kh * (s.kw // run) * whole_steps(target, self.types.w, run * s.ic) * BLOCK
        return s.kh * s.kw * s.ic_blocks * BLOCK * BLOCK

    def unpacked(self, target: Target) -> int:
        """Weights that are unpacked together, at the start of the scratch."""
        return self.schedule.nr * self.block_weights(target) if self.schedule.unpack else 0

    def scratch_bytes(self, target: Target, columns: Dim) -> Dim:
        """Bytes of scratch for so many output columns."""
        rows = self.copy.scratch_bytes(target, columns) if self.copy.is_needed(target) else 0
        return rows + self.unpacked(target) * ITEMSIZE["f32"]

    def build(self, target: Target, symbol: str) -> Kernel:
        memory = self.types.x if self.load is None else self.load.dtype
        k = self.types.kernel(symbol, target, self.epilogue, count_params(self), memory)
        DirectEmitter(k, self, k.pointers).emit()
        return k


class DirectEmitter:
    """Emits a `DirectConv` whose pointers are `pointers`; `source` says where an item's input rows are."""

    def __init__(self, k: Kernel, spec: DirectConv, pointers: Sequence[Pointer]) -> None:
        self.k, self.spec, self.s = k, spec, spec.shape
        self.x, self.w, self.bias, *self.extras, self.y = pointers
        s = self.s
        self.n, self.ih, self.iw = k.size(s.n), k.size(s.ih), k.size(s.iw)
        self.oh, self.ow = k.size(s.oh), k.size(s.ow)
        self.rows = spec.schedule.rows
        self.full_chunks, self.tail = divmod(s.oc_blocks, spec.schedule.nr)
        self.chunks = self.full_chunks + (1 if self.tail else 0)
        self.run = spec.copy.run
        self.block_weights = spec.block_weights(k.target)
        self.copied = RowSource(k, spec.copy, self.x, k.scratch.offset(spec.unpacked(k.target)))

    def emit(self) -> None:
        k = self.k
        per_item = self.spec.schedule.chunks
        parts = k.ceildiv(self.chunks, per_item)
        rows: Index = self.rows
        row_blocks = k.ceildiv(self.oh, rows)
        if not isinstance(self.oh, int):  # even blocks, enough of them for all threads
            row_blocks = even_items(k, row_blocks, self.s.groups * parts * self.n)
            rows = k.index_max(k.ceildiv(self.oh, row_blocks), 1)
            row_blocks = k.ceildiv(self.oh, rows)
        first, last = k.thread_range(self.s.groups * parts * self.n * row_blocks)
        with k.loop("item", first, last) as item:
            rest = item % (self.n * row_blocks)
            part = item // (self.n * row_blocks)
            row0 = (rest % row_blocks) * rows
            self._item(
                part // parts, (part % parts) * per_item, rest // row_blocks, row0, k.index_min(row0 + rows, self.oh)
            )

    def _item(self, group: Index, chunk0: Index, image: Index, row0: Index, row1: Index) -> None:
        k = self.k
        source = self.source(group, image, row0, row1)
        chunk1 = k.index_min(chunk0 + self.spec.schedule.chunks, self.chunks)
        with k.loop("chunk", chunk0, k.index_min(chunk1, self.full_chunks)) as chunk:
            self._chunk(source, group, chunk, self.spec.schedule.nr, image, row0, row1)
        if self.tail:
            condition = k.less(self.full_chunks, chunk1)
            if condition is True:
                self._chunk(source, group, self.full_chunks, self.tail, image, row0, row1)
            elif condition is not False:
                with k.when(condition):
                    self._chunk(source, group, self.full_chunks, self.tail, image, row0, row1)

    def source(self, group: Index, image: Index, row0: Index, row1: Index) -> Rows:
        """The input of output rows row0..row1."""
        return self.copied.at(group, image, row0, row1)

    def _image_block(self, image: Index, group: Index) -> Index:
        """First element of a group's output in one image."""
        s = self.s
        return (image * s.groups + group) * s.oc_blocks * (self.oh * self.ow) * BLOCK

    # -- the product -----------------------------------------------------------------------------------------------

    def _chunk(self, source: Rows, group: Index, chunk: Index, nr: int, image: Index, row0: Index, row1: Index) -> None:
        """One column of register tiles (nr blocks of output channels) over the item's pixels."""
        k, s = self.k, self.s
        block0 = chunk * self.spec.schedule.nr
        weights = self._weights(self.w.offset((group * s.oc_blocks + block0) * self.block_weights), nr)

        def tiles(row: Index, rows: int) -> None:
            def tile(column: Index, columns: int) -> None:
                place = [(r, c) for r in range(rows) for c in range(columns)]
                self._tile(source, weights, group, block0, nr, image, row0, row, column, place)

            for_even_tiles(k, "col", self.ow, self.spec.schedule.mr // rows, tile)

        together = self._rows_together()
        count = row1 - row0
        if together == 1:
            with k.loop("row", 0, count) as row:
                tiles(row, 1)
        else:
            for_even_tiles(k, "row", count, together, tiles)

    def _weights(self, packed: Pointer, nr: int) -> Pointer:
        """A chunk's weights where they are multiplied."""
        k = self.k
        if not self.spec.schedule.unpack:
            return packed
        with k.loop("unpack", 0, nr * self.block_weights, BLOCK) as at:
            k.scratch.store(load_value(packed, BLOCK, at), at)
        return k.scratch

    def _rows_together(self) -> int:
        """Output rows per register tile: several when a row is narrower than half a tile."""
        ow, row_stride = self.s.ow, self.s.iw
        if not isinstance(ow, int) or not isinstance(row_stride, int):
            return 1
        return max(1, min(self.spec.schedule.mr // ow, self.rows))

    def _tile(
        self,
        source: Rows,
        weights: Pointer,
        group: Index,
        block0: Index,
        nr: int,
        image: Index,
        row0: Index,
        row: Index,
        column: Index,
        place: list[tuple[int, int]],
    ) -> None:
        """One register tile: pixels `place` (row, column offsets) from (row, column) by `nr` blocks."""
        k, s = self.k, self.s
        acc = k.tile("acc", len(place), nr, dtype=self.spec.types.acc)
        channel0 = (group * s.oc_blocks + block0) * BLOCK
        for j in range(nr):
            start = self.bias.load(BLOCK, channel0 + j * BLOCK)
            for p in range(len(place)):
                acc[p, j] = start
        a = source.base.offset(row * source.row + column * source.pixel)
        offsets = [r * source.row + c * source.pixel for r, c in place]
        self._reduce(acc, a, offsets, source, weights, nr, self._ahead(row, column, len(place), nr))
        y_image = self._image_block(image, group)
        for j in range(nr):
            plane = y_image + (block0 + j) * (self.oh * self.ow * BLOCK)
            channel = channel0 + j * BLOCK
            for run in _neighbours(place):
                r, c = place[run[0]]
                self.spec.epilogue.store(
                    k,
                    self.y,
                    [acc[p, j] for p in run],
                    self.extras,
                    out=plane + ((row0 + row + r) * self.ow + column + c) * BLOCK,
                    channel=channel,
                    image=image * (s.groups * s.oc_blocks * BLOCK) + channel,
                )

    def _ahead(self, row: Index, column: Index, pixels: int, nr: int) -> Ahead | None:
        """Each register tile of a chunk fetches its own part of the next chunk's weights."""
        lines = self.spec.schedule.ahead
        if not lines:
            return None
        number = (row * self.ow + column) // pixels
        return Ahead(nr * self.block_weights + number * (lines * line_elements(self.w.dtype)), lines)

    def _reduce(
        self,
        acc: Tile,
        a: Pointer,
        offsets: list[Index],
        source: Rows,
        weights: Pointer,
        nr: int,
        ahead: Ahead | None,
    ) -> None:
        """Loops over input channel blocks and the window."""
        k, s = self.k, self.s
        if self.spec.load is not None:
            depth, runs = self.run * s.ic, s.kw // self.run
            size = whole_steps(k.target, self.spec.types.w, depth) * nr * BLOCK
            with k.loop("kh", 0, s.kh) as kh, k.loop("kw", 0, runs) as kw:
                at = a.offset(kh * source.tap_row + kw * source.tap_column)
                multiply_accumulate(
                    k, acc, at, offsets, source.channel, weights.offset((kh * runs + kw) * size), depth, nr
                )
            return
        full, rest = divmod(s.ic, BLOCK)
        per_block = s.kh * s.kw * BLOCK * nr * BLOCK

        def block(icb: Index, depth: int) -> None:
            with k.loop("kh", 0, s.kh) as kh, k.loop("kw", 0, s.kw) as kw:
                b = weights.offset(icb * per_block + (kh * s.kw + kw) * (BLOCK * nr * BLOCK))
                at = a.offset(icb * source.block + kh * source.tap_row + kw * source.tap_column)
                multiply_accumulate(k, acc, at, offsets, 1, b, depth, nr, ahead)

        with k.loop("icb", 0, full) as icb:
            block(icb, BLOCK)
        if rest:
            block(full, rest)


def _neighbours(place: Sequence[tuple[int, int]]) -> list[range]:
    """Runs of pixels that lie side by side."""
    starts = [i for i, (r, c) in enumerate(place) if i == 0 or place[i - 1] != (r, c - 1)]
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], len(place)], strict=True)]
