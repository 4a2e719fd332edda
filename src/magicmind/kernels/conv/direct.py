"""Direct convolution on the blocked layout.

An item is (group of output channel chunks, image, block of output rows). Unless the convolution is pointwise, the input
rows an item needs are first copied into the thread's scratch with their padding, so that the micro-kernel needs no
bounds: one vector load and store per input vector against kh*kw*oc/16 multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Int, Kernel, Pointer, Tile
from magicmind.codegen.target import BLOCK, Target
from magicmind.kernels.contract import Ahead, multiply_accumulate
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.epilogue import NO_EPILOGUE, Epilogue
from magicmind.kernels.spec import count_params
from magicmind.kernels.tiles import for_even_tiles, for_tiles
from magicmind.kernels.work import even_items


@dataclass(frozen=True)
class DirectSchedule:
    """Register tile of `mr` pixels by `nr` blocks of output channels; `rows` output rows per item; `chunks` columns of
    register tiles (nr blocks each) per item, so that their weights stay in cache over the item's pixels.

    `ahead`: cache lines of the next chunk's weights that every register tile asks for per 16 input channels, or 0.
    """

    mr: int
    nr: int
    rows: int
    chunks: int
    ahead: int = 0


@dataclass(frozen=True)
class DirectConv:
    """y = epilogue(conv(x, w) + bias).

    Pointers: x, w (`pack_direct`, or `pack_few_channels` when `plain_input`), bias, epilogue operands, y (blocked).
    `plain_input`: x is row-major NCHW with few channels (the first layer).
    """

    shape: ConvShape
    schedule: DirectSchedule
    epilogue: Epilogue = NO_EPILOGUE
    plain_input: bool = False

    @property
    def name(self) -> str:
        kind = "conv_first" if self.plain_input else "conv"
        return f"f32_{kind}_{self.shape}_{self.schedule.mr}x{self.schedule.nr}{self.epilogue.label}"

    @property
    def needs_copy(self) -> bool:
        return self.plain_input or not self.shape.is_pointwise

    def scratch_rows(self) -> int:
        """Input rows an item copies."""
        s = self.shape
        return (self.schedule.rows - 1) * s.sh + (s.kh - 1) * s.dh + 1

    def build(self, target: Target, symbol: str) -> Kernel:
        count = 3 + len(self.epilogue.operands) + 1
        k = Kernel(symbol, target, ["f32"] * count, count_params(self))
        DirectEmitter(k, self, k.pointers).emit()
        return k


@dataclass(frozen=True)
class Rows:
    """Where the micro-kernel reads: input rows of one image, in place or in scratch.

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
        depth = s.ic if spec.plain_input else s.ic_blocks * BLOCK
        self.block_weights = depth * s.kh * s.kw * BLOCK
        """Packed weights of one block of output channels, in elements."""

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

    # -- the input -------------------------------------------------------------------------------------------------

    def source(self, group: Index, image: Index, row0: Index, row1: Index) -> Rows:
        s = self.s
        if not self.spec.needs_copy:
            plane = self.ih * self.iw * BLOCK
            start = self._image_block(image, group, self.ih, self.iw, s.ic_blocks) + row0 * s.sh * self.iw * BLOCK
            return Rows(self.x.offset(start), self.iw * (BLOCK * s.sh), BLOCK * s.sw, 0, 0, plane, 1)
        return (
            self._copy_plain(image, row0, row1)
            if self.spec.plain_input
            else self._copy_blocked(group, image, row0, row1)
        )

    def _image_block(self, image: Index, group: Index, h: Index, w: Index, blocks: int) -> Index:
        return (image * self.s.groups + group) * blocks * (h * w) * BLOCK

    def _padded_width(self) -> Index:
        """Input columns the widest output row needs."""
        s = self.s
        return (self.ow - 1) * s.sw + (s.kw - 1) * s.dw + 1

    def _copy_blocked(self, group: Index, image: Index, row0: Index, row1: Index) -> Rows:
        """Rows with padding to scratch, [ic block][row][column][16]."""
        k, s = self.k, self.s
        width, height = self._padded_width(), self.spec.scratch_rows()
        zero = k.const(0.0, "f32", BLOCK)
        needed = (row1 - row0 - 1) * s.sh + (s.kh - 1) * s.dh + 1
        start = self._image_block(image, group, self.ih, self.iw, s.ic_blocks)
        left, right = self._column_bounds(width)
        with k.loop("icb", 0, s.ic_blocks) as icb, k.loop("r", 0, needed) as r:
            to = k.scratch.offset((icb * height + r) * (width * BLOCK))
            row = row0 * s.sh + r - s.pt
            inside = self._inside(row)
            from_row = self.x.offset(start + (icb * self.ih + row) * (self.iw * BLOCK) - s.pl * BLOCK)
            lo, hi = self._clip(inside, left, right)
            with k.loop("left", 0, lo) as c:
                to.store(zero, c * BLOCK)
            self._copy_pixels(to, from_row, lo, hi)
            with k.loop("right", k.index_max(hi, lo), width) as c:
                to.store(zero, c * BLOCK)
        line = width * BLOCK
        return Rows(k.scratch, line * s.sh, BLOCK * s.sw, line * s.dh, BLOCK * s.dw, line * height, 1)

    def _copy_pixels(self, to: Pointer, source: Pointer, lo: Index, hi: Index) -> None:
        k = self.k

        def body(first: Index, size: int) -> None:
            for i in range(size):
                at = (lo + first + i) * BLOCK
                to.store(source.load(BLOCK, at), at)

        for_tiles(k, "copy", k.index_max(hi - lo, 0), 4, body)

    def _copy_plain(self, image: Index, row0: Index, row1: Index) -> Rows:
        """Rows with padding to scratch, [channel][row][column]: x is NCHW."""
        k, s = self.k, self.s
        width, height = self._padded_width(), self.spec.scratch_rows()
        zero = k.const(0.0, "f32")
        needed = (row1 - row0 - 1) * s.sh + (s.kh - 1) * s.dh + 1
        left, right = self._column_bounds(width)
        with k.loop("ic", 0, s.ic) as c, k.loop("r", 0, needed) as r:
            to = k.scratch.offset((c * height + r) * width)
            row = row0 * s.sh + r - s.pt
            source = self.x.offset(((image * s.ic + c) * self.ih + row) * self.iw - s.pl)
            lo, hi = self._clip(self._inside(row), left, right)
            with k.loop("left", 0, lo) as i:
                to.store(zero, i)
            vectors = lo + ((k.index_max(hi - lo, 0)) // BLOCK) * BLOCK
            with k.loop("middle", lo, vectors, BLOCK) as i:
                to.store(source.load(BLOCK, i), i)
            with k.loop("rest", vectors, hi) as i:
                to.store(source.load(1, i), i)
            with k.loop("right", k.index_max(hi, lo), width) as i:
                to.store(zero, i)
        return Rows(k.scratch, width * s.sh, s.sw, width * s.dh, s.dw, 0, width * height)

    def _column_bounds(self, width: Index) -> tuple[Index, Index]:
        """Columns [left, right) of a padded row that lie inside the input."""
        k, s = self.k, self.s
        return k.index_min(s.pl, width), k.index_max(k.index_min(self.iw + s.pl, width), 0)

    def _inside(self, row: Index) -> object:
        """Whether `row` exists in the input (one unsigned comparison: a negative row is a huge number)."""
        if not self.s.padded:
            return True
        k = self.k
        return k.b.icmp_unsigned("<", k.i64(row), k.i64(self.ih))

    def _clip(self, inside: object, left: Index, right: Index) -> tuple[Index, Index]:
        """The columns to copy; none of a row that is all padding."""
        if inside is True:
            return left, right
        k = self.k
        return left, Int(k, k.b.select(inside, k.i64(right), k.i64(left)))

    # -- the product -----------------------------------------------------------------------------------------------

    def _chunk(self, source: Rows, group: Index, chunk: Index, nr: int, image: Index, row0: Index, row1: Index) -> None:
        """One column of register tiles (nr blocks of output channels) over the item's pixels."""
        k, s = self.k, self.s
        block0 = chunk * self.spec.schedule.nr
        weights = self.w.offset((group * s.oc_blocks + block0) * self.block_weights)

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
        acc = k.tile("acc", len(place), nr)
        channel0 = (group * s.oc_blocks + block0) * BLOCK
        for j in range(nr):
            start = self.bias.load(BLOCK, channel0 + j * BLOCK)
            for p in range(len(place)):
                acc[p, j] = start
        a = source.base.offset(row * source.row + column * source.pixel)
        offsets = [r * source.row + c * source.pixel for r, c in place]
        self._reduce(acc, a, offsets, source, weights, nr, self._ahead(row, column, len(place), nr))
        y_image = self._image_block(image, group, self.oh, self.ow, s.oc_blocks)
        for j in range(nr):
            plane = y_image + (block0 + j) * (self.oh * self.ow * BLOCK)
            for p, (r, c) in enumerate(place):
                out = plane + ((row0 + row + r) * self.ow + column + c) * BLOCK
                channel = channel0 + j * BLOCK
                image_channel = image * (s.groups * s.oc_blocks * BLOCK) + channel
                value = self.spec.epilogue.apply(
                    k, acc[p, j], self.extras, out=out, channel=channel, image=image_channel
                )
                self.y.store(value, out)

    def _ahead(self, row: Index, column: Index, pixels: int, nr: int) -> Ahead | None:
        """Each register tile of a chunk fetches its own part of the next chunk's weights."""
        lines = self.spec.schedule.ahead
        if not lines:
            return None
        number = (row * self.ow + column) // pixels
        return Ahead(nr * self.block_weights + number * (lines * BLOCK), lines)

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
        if self.spec.plain_input:
            with k.loop("kh", 0, s.kh) as kh, k.loop("kw", 0, s.kw) as kw:
                b = weights.offset((kh * s.kw + kw) * (s.ic * nr * BLOCK))
                multiply_accumulate(
                    k, acc, a.offset(kh * source.tap_row + kw * source.tap_column), offsets, source.channel, b, s.ic, nr
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
