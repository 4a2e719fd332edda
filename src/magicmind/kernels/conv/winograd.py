"""Winograd convolution F(m x m, 3 x 3) for 3x3 windows with stride 1.

(m+2)^2 products give m x m outputs instead of 9 m^2: 2.25 times fewer multiplications for m = 2, 4 times for m = 4.
An item transforms a run of input tiles into the thread's scratch, multiplies each of the (m+2)^2 positions as a matrix
product with the micro-kernel of all convolutions, and transforms back. Items share nothing: no barrier stands inside.
Source: Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks" (interpolation points 0, 1, -1, 2, -2,
infinity).

Bytes are computed exactly, with m = 2: transformed inputs stay within 4 * 255. The weights' matrix, doubled, has no
halves, so transformed weights stay within 9 * 128, and both are multiplied as int16. Sums are four times the
convolution's: shifted by two bits they are what the direct kernel adds up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from magicmind.codegen import ir
from magicmind.codegen.builder import Index, Kernel, Pointer, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.kernels.contract import Ahead, line_elements, multiply_accumulate, share_lines
from magicmind.kernels.conv.pack import FloatArray, pack_chunks, pad_axis
from magicmind.kernels.conv.rows import is_inside
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import F32, ConvTypes
from magicmind.kernels.epilogue import NO_EPILOGUE, Epilogue
from magicmind.kernels.scalar import load_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.tiles import for_even_tiles
from magicmind.kernels.work import even_items

Matrix = tuple[tuple[float, ...], ...]

INPUT: dict[int, Matrix] = {
    2: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
    4: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
WEIGHT: dict[int, Matrix] = {
    2: ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    4: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}
DOUBLED: Matrix = ((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2))
"""Twice `WEIGHT[2]`: for whole numbers."""
OUTPUT: dict[int, Matrix] = {
    2: ((1, 1, 1, 0), (0, 1, -1, 1)),
    4: ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
}

MOST_BYTE_CHANNELS = (2**31 - 1) // (4 * 9 * 255 * 128)
"""Input channels up to which four times a convolution of bytes fits an int32. (In between, sums may wrap.)"""


def numbers_of(types: ConvTypes) -> str:
    """The type in which transformed inputs and weights are multiplied."""
    return "i16" if types.is_integer else "f32"


def weight_matrix(m: int, numbers: str) -> Matrix:
    """What transforms weights that are multiplied as `numbers`, f32 or i16."""
    return WEIGHT[m] if numbers == "f32" else DOUBLED


def pack_winograd(w: FloatArray, m: int, nr: int) -> FloatArray:
    """w[oc, ic, 3, 3] -> G w G^T as [position][chunk][ic][nr * 16 oc], both channel counts padded to blocks."""
    g = np.array(WEIGHT[m], np.float64)
    u = np.einsum("ai,ocij,bj->abco", g, w.astype(np.float64), g, optimize=True).astype(np.float32)
    u = pad_axis(pad_axis(u, 2, BLOCK), 3, BLOCK)
    return np.concatenate([pack_chunks(position, nr) for position in u.reshape(-1, *u.shape[2:])])


@dataclass(frozen=True)
class WinogradSchedule:
    """`m` output tile; register tile of `mr` tiles by `nr` blocks; `tiles` per item; `chunks` of nr blocks per item."""

    m: int
    mr: int
    nr: int
    tiles: int
    chunks: int


@dataclass(frozen=True)
class WinogradConv:
    """y = epilogue(conv3x3(x, w) + bias), stride and dilation 1, one group.

    Pointers: x (blocked), w (`pack_winograd` or `WinogradWeights`), bias, epilogue operands, y (blocked).
    Bytes: m is 2, and at most MOST_BYTE_CHANNELS are summed.
    """

    shape: ConvShape
    schedule: WinogradSchedule
    epilogue: Epilogue = NO_EPILOGUE
    types: ConvTypes = F32

    @property
    def name(self) -> str:
        s = self.schedule
        return f"{self.types.x}_winograd{s.m}_{self.shape}_{s.mr}x{s.nr}{self.epilogue.label}"

    @property
    def positions(self) -> int:
        return (self.schedule.m + 2) ** 2

    def position_vectors(self, blocks: int) -> int:
        """Vectors from one position to the next in scratch. Odd, so that the positions of a tile lie in different cache
        sets: with a power of two all of them would compete for one."""
        return blocks * self.schedule.tiles | 1

    def scratch_bytes(self) -> int:
        """Transformed inputs and products of one item."""
        s = self.schedule
        inputs = self.position_vectors(self.shape.ic_blocks) * ITEMSIZE[numbers_of(self.types)]
        products = self.position_vectors(s.chunks * s.nr) * ITEMSIZE[self.types.acc]
        return self.positions * (inputs + products) * BLOCK

    def build(self, target: Target, symbol: str) -> Kernel:
        types = replace(self.types, w=numbers_of(self.types))
        k = types.kernel(symbol, target, self.epilogue, count_params(self))
        _Emitter(k, self).emit()
        return k


def transform(k: Kernel, matrix: Matrix, x: Sequence[Vec]) -> list[Vec]:
    """matrix @ x with the zeros and ones left out; the order of additions is that of the columns."""
    rows = []
    for row in matrix:
        total: Vec | None = None
        for factor, value in sorted(zip(row, x, strict=True), key=lambda t: abs(t[0]) != 1 or t[0] < 0):
            if factor == 0:
                continue
            if total is None:
                total = value if factor == 1 else value * factor
            elif factor == 1:
                total = total + value
            elif factor == -1:
                total = total - value
            else:
                total = k.fma(value, k.const(factor, "f32", BLOCK), total)
        assert total is not None
        rows.append(total)
    return rows


def transform_2d(k: Kernel, matrix: Matrix, x: list[list[Vec]]) -> list[list[Vec]]:
    """matrix @ x @ matrix^T on a grid of vectors."""
    columns = [transform(k, matrix, column) for column in zip(*x, strict=True)]
    return [transform(k, matrix, row) for row in zip(*columns, strict=True)]


class _Emitter:
    def __init__(self, k: Kernel, spec: WinogradConv) -> None:
        self.k, self.spec, self.s, self.m = k, spec, spec.shape, spec.schedule.m
        self.x, self.w, self.bias, *self.extras, self.y = k.pointers
        s, schedule = self.s, spec.schedule
        self.n, self.ih, self.iw = k.size(s.n), k.size(s.ih), k.size(s.iw)
        self.oh, self.ow = k.size(s.oh), k.size(s.ow)
        self.fixed = all(isinstance(size, int) for size in (self.n, self.oh, self.ow))
        self.across, self.down = k.ceildiv(self.ow, self.m), k.ceildiv(self.oh, self.m)
        self.full_chunks, self.tail = divmod(s.oc_blocks, schedule.nr)
        self.chunks = self.full_chunks + (1 if self.tail else 0)
        self.v_position = spec.position_vectors(s.ic_blocks) * BLOCK
        self.v = k.scratch.cast(numbers_of(spec.types))
        self.products = self.v.offset(spec.positions * self.v_position).cast(spec.types.acc)
        self.product_position = spec.position_vectors(schedule.chunks * schedule.nr) * BLOCK
        padding = "u8" if spec.types.is_integer else "f32"  # zeros of float32 are float16's too
        self.padding = Pointer(k, k.alloca(k.vector_type(padding, BLOCK), "padding"), padding)

    def emit(self) -> None:
        k, schedule = self.k, self.spec.schedule
        self.padding.store(k.const(self.spec.types.x_zero, self.padding.dtype, BLOCK))
        total = self.n * (self.across * self.down)
        runs, parts = k.ceildiv(total, schedule.tiles), -(-self.chunks // schedule.chunks)
        run: Index = schedule.tiles
        if not self.fixed:
            runs = even_items(k, runs, parts)
            run = k.index_max(k.ceildiv(total, runs), 1)
            runs = k.ceildiv(total, run)
        first, last = k.thread_range(runs * parts)
        with k.loop("item", first, last) as item:
            tile0 = (item % runs) * run
            count = k.index_min(total - tile0, run)
            chunk0 = (item // runs) * schedule.chunks
            with k.loop("icb", 0, self.s.ic_blocks) as icb, k.loop("tile", 0, count) as t:
                self._transform_input(tile0 + t, t, icb)
            self._multiply(chunk0, count)
            self._transform_outputs(tile0, count, chunk0)

    def _place(self, tile: Index) -> tuple[Index, Index, Index]:
        """Image, top output row and left output column of a tile."""
        per_image = self.across * self.down
        rest = tile % per_image
        return tile // per_image, (rest // self.across) * self.m, (rest % self.across) * self.m

    def _transform_input(self, tile: Index, t: Index, icb: Index) -> None:
        k, s, size = self.k, self.s, self.m + 2
        image, top, left = self._place(tile)
        row0, column0 = top - s.pt, left - s.pl
        plane = self.x.offset((image * s.ic_blocks + icb) * (self.ih * self.iw * BLOCK))
        rows_in = [is_inside(k, row0 + r, self.ih) for r in range(size)]
        columns_in = [is_inside(k, column0 + c, self.iw) for c in range(size)]
        window = [
            [self._load_inside(plane, row0 + r, column0 + c, rows_in[r], columns_in[c]) for c in range(size)]
            for r in range(size)
        ]
        out = self.v.offset((icb * self.spec.schedule.tiles + t) * BLOCK)
        for p, value in enumerate(v for row in transform_2d(k, INPUT[self.m], window) for v in row):
            out.store(value, p * self.v_position)

    def _load_inside(self, plane: Pointer, row: Index, column: Index, row_in: ir.Value, column_in: ir.Value) -> Vec:
        """A pixel, or padding outside the image."""
        b = self.k.b
        address = plane.offset((row * self.iw + column) * BLOCK)
        chosen = b.select(b.and_(row_in, column_in), address.value, self.padding.value)
        return self.k.convert(load_value(Pointer(self.k, chosen, self.x.dtype), BLOCK), self.v.dtype)

    def _multiply(self, chunk0: Index, count: Index) -> None:
        """products[position][block][tile] = sum over ic of v[position][ic][tile] * w[position][ic][block]."""
        k, s, schedule = self.k, self.s, self.spec.schedule
        depth = s.ic_blocks * BLOCK
        per_position = depth * s.oc_blocks * BLOCK

        def column(position: Index, chunk: Index, nr: int) -> None:
            weights = self.w.offset(position * per_position + chunk * (schedule.nr * depth * BLOCK))
            v = self.v.offset(position * self.v_position)
            out = self.products.offset(
                position * self.product_position + (chunk - chunk0) * (schedule.nr * schedule.tiles * BLOCK)
            )

            # A run-time number of tiles is cut into runs of about half of `schedule.tiles` and more.
            share = schedule.tiles if self.fixed else schedule.tiles * 3 // 5
            lines = share_lines(nr, -(-share // schedule.mr), self.w.dtype)

            def tile(first: Index, size: int) -> None:
                # The next chunk or position lies right behind this one: fetch it in equal parts.
                part = (first // schedule.mr) * (lines * line_elements(self.w.dtype))
                ahead = Ahead(nr * depth * BLOCK + part, lines)
                acc = k.tile("acc", size, nr, dtype=self.products.dtype)
                acc.fill(k.const(0, acc.dtype, BLOCK))
                with k.loop("icb", 0, s.ic_blocks) as icb:
                    a = v.offset((icb * schedule.tiles + first) * BLOCK)
                    b = weights.offset(icb * (BLOCK * nr * BLOCK))
                    multiply_accumulate(k, acc, a, [i * BLOCK for i in range(size)], 1, b, BLOCK, nr, ahead)
                for i, j in acc:
                    out.store(acc[i, j], (j * schedule.tiles + first + i) * BLOCK)

            for_even_tiles(k, "t", count, schedule.mr, tile)

        with k.loop("position", 0, self.spec.positions) as position:
            stop = k.index_min(chunk0 + schedule.chunks, self.chunks)
            with k.loop("chunk", chunk0, k.index_min(stop, self.full_chunks)) as chunk:
                column(position, chunk, schedule.nr)
            if self.tail:
                with k.loop("chunk", k.index_max(chunk0, self.full_chunks), stop) as chunk:
                    column(position, chunk, self.tail)

    def _transform_outputs(self, tile0: Index, count: Index, chunk0: Index) -> None:
        k, s, schedule = self.k, self.s, self.spec.schedule
        block0 = chunk0 * schedule.nr
        blocks = k.index_min(s.oc_blocks - block0, schedule.chunks * schedule.nr)
        with k.loop("ocb", 0, blocks) as ocb, k.loop("tile", 0, count) as t:
            image, top, left = self._place(tile0 + t)
            channel = (block0 + ocb) * BLOCK
            image_channel = image * (s.oc_blocks * BLOCK) + channel
            source = self.products.offset((ocb * schedule.tiles + t) * BLOCK)
            size = self.m + 2
            products = [
                [source.load(BLOCK, (r * size + c) * self.product_position) for c in range(size)] for r in range(size)
            ]
            bias = self.bias.load(BLOCK, channel)
            plane = (image * s.oc_blocks + block0 + ocb) * (self.oh * self.ow)
            for r, row in enumerate(transform_2d(k, OUTPUT[self.m], products)):
                sums = [(value >> 2 if self.spec.types.is_integer else value) + bias for value in row]
                self._store(plane, top + r, left, sums, channel, image_channel, first_row=r == 0)

    def _store(
        self,
        plane: Index,
        row: Index,
        left: Index,
        pixels: Sequence[Vec],
        channel: Index,
        image: Index,
        *,
        first_row: bool,
    ) -> None:
        """Epilogue and store of a tile's row, where it exists (tiles may reach beyond the image)."""
        k = self.k

        def put(first: int, values: Sequence[Vec]) -> None:
            out = (plane + row * self.ow + left + first) * BLOCK
            self.spec.epilogue.store(k, self.y, values, self.extras, out=out, channel=channel, image=image)

        with contextlib.ExitStack() as inside:
            if not (first_row or self._is_whole(self.oh)):
                inside.enter_context(k.when(k.less(row, self.oh)))
            if self._is_whole(self.ow):
                put(0, pixels)
                return
            put(0, pixels[:1])
            for c in range(1, len(pixels)):
                with k.when(k.less(left + c, self.ow)):
                    put(c, pixels[c : c + 1])

    def _is_whole(self, extent: Index) -> bool:
        """Whether tiles end with the image."""
        return isinstance(extent, int) and extent % self.m == 0
