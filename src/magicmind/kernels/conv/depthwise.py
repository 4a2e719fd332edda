"""Depthwise convolution on the blocked layout: one vector of 16 channels per pixel, float32 without copies.

Rows and columns whose windows lie inside the input are computed in register tiles without checks. Edge columns of a
constant width leave their outside taps out at build time; all other edges loop over the taps that exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from magicmind.codegen.builder import Index, Kernel, Pointer, Tile, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.ir.dims import Dim
from magicmind.kernels.conv.depthwise_copied import CopiedDepthwiseRows, Put, channel_rows
from magicmind.kernels.conv.depthwise_dot import DotDepthwiseRows
from magicmind.kernels.conv.pack import Weights, pack_depthwise
from magicmind.kernels.conv.row_groups import RowGroups
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import F32, ConvTypes
from magicmind.kernels.epilogue import NO_EPILOGUE, Epilogue
from magicmind.kernels.spec import count_params
from magicmind.kernels.tiles import for_tiles


@dataclass(frozen=True)
class DepthwiseSchedule:
    """Register tile of `mr` pixels; `rows` output rows per item."""

    mr: int
    rows: int


@dataclass(frozen=True)
class DepthwiseConv:
    """y = epilogue(depthwise(x, w) + bias) for `shape.groups` channels (ic = oc = 1).

    Pointers: x (blocked), w (`packed_depthwise`), bias, epilogue operands, y (blocked). `types` are `depthwise_types`.
    """

    shape: ConvShape
    schedule: DepthwiseSchedule
    epilogue: Epilogue = NO_EPILOGUE
    types: ConvTypes = F32

    @property
    def name(self) -> str:
        s = self.shape
        kind = f"{self.types.x}_depthwise_{s.kh}x{s.kw}s{s.sh}"
        return f"{kind}_{s.groups}_{s.oh}x{s.ow}_{self.schedule.mr}{self.epilogue.label}"

    def scratch_bytes(self, target: Target, columns: Dim) -> Dim:
        """Bytes of scratch for so many output columns."""
        if not needs_copy(self.types):
            return 0
        groups = groups_of(self.shape, self.types, target)
        if groups is not None:
            return groups.scratch_bytes(target, self.schedule.rows, columns)
        return channel_rows(self.shape, self.types, self.schedule.rows).scratch_bytes(target, columns)

    def build(self, target: Target, symbol: str) -> Kernel:
        k = self.types.kernel(symbol, target, self.epilogue, count_params(self))
        x, w, bias, *extras, y = k.pointers
        oh, ow = k.size(self.shape.oh), k.size(self.shape.ow)
        blocks = -(-self.shape.groups // BLOCK)

        def place(image: Index, block: Index, row: Index, column: Index) -> dict[str, Index]:
            channel = block * BLOCK
            out = (((image * blocks + block) * oh + row) * ow + column) * BLOCK
            return {"out": out, "channel": channel, "image": image * (blocks * BLOCK) + channel}

        def put(image: Index, block: Index, row: Index, column: Index, pixels: Sequence[Vec]) -> None:
            self.epilogue.store(k, y, pixels, extras, **place(image, block, row, column))

        def put_parts(
            image: Index, block: Index, row: Index, column: Index, sums: Sequence[Sequence[Vec]], count: int
        ) -> None:
            if len(sums[0]) == 1:
                put(image, block, row, column, [pixel for (pixel,) in sums])
                return
            for v, parts in enumerate(sums):
                at = place(image, block, row, column + v * len(parts))
                self.epilogue.store_parts(k, y, parts, count, extras, **at)

        rows, groups = self.schedule.rows, groups_of(self.shape, self.types, target)
        if groups is None:
            emit = depthwise_rows(k, self.shape, self.types, self.schedule, (x, w, bias), k.scratch, put)
        else:
            pointers = (x, w, bias)
            emit = DotDepthwiseRows(k, groups, self.schedule.mr, pointers, self.types.x_zero, k.scratch, put_parts).emit
        row_blocks = k.ceildiv(oh, rows)
        first, last = k.thread_range(k.size(self.shape.n) * blocks * row_blocks)
        # Channels innermost: a thread keeps to its rows, which it also wrote in the pointwise convolution before.
        with k.loop("item", first, last) as item:
            block, band = item % blocks, item // blocks
            row0 = (band % row_blocks) * rows
            emit(band // row_blocks, block, row0, k.index_min(row0 + rows, oh))
        return k


def depthwise_types(shape: ConvShape, types: ConvTypes, target: Target) -> ConvTypes:
    """With the weights as they are multiplied: bytes by dot products where there are some, else as float32, like
    float16. (They are too few to be worth less memory.)"""
    if types.x == "i16":
        return types
    groups = RowGroups.of(shape, target) if types.x == "u8" else None
    return replace(types, w="f32" if groups is None else groups.weights)


def packed_depthwise(shape: ConvShape, types: ConvTypes, target: Target, w: Weights) -> Weights:
    """w[c, 1, kh, kw] as `DepthwiseConv` of `depthwise_types` reads it."""
    groups = groups_of(shape, types, target)
    if groups is not None:
        return groups.pack(w)
    return pack_depthwise(w.astype(np.int16 if types.w == "i16" else np.float32))


def groups_of(shape: ConvShape, types: ConvTypes, target: Target) -> RowGroups | None:
    """How rows of bytes are brought together; None where they are multiplied one at a time."""
    return RowGroups.of(shape, target) if types.x == "u8" and types.w != "f32" else None


def needs_copy(types: ConvTypes) -> bool:
    """Whether rows are copied to scratch: float32 is multiplied where it lies."""
    return types.x != "f32"


def depthwise_rows(
    k: Kernel,
    shape: ConvShape,
    types: ConvTypes,
    schedule: DepthwiseSchedule,
    pointers: tuple[Pointer, Pointer, Pointer],
    scratch: Pointer,
    put: Put,
) -> Callable[[Index, Index, Index, Index], None]:
    """emit(image, channel block, row0, row1): the depthwise convolution of up to `schedule.rows` output rows.

    `pointers`: x, w, bias. `scratch` is room for the copied rows. Not for bytes that are multiplied by dot products.
    """
    if not needs_copy(types):
        return DepthwiseRows(k, shape, schedule.mr, *pointers, put).emit
    return CopiedDepthwiseRows(k, channel_rows(shape, types, schedule.rows), schedule.mr, pointers, scratch, put).emit


@dataclass(frozen=True)
class _Plane:
    """One channel block of one image."""

    image: Index
    block: Index


@dataclass(frozen=True)
class _Taps:
    """Which taps along one axis are computed: `valid[p]` for every pixel of the tile, or a run-time range for all."""

    valid: Sequence[Sequence[int]] | None = None
    first: Index = 0
    last: Index = 0


class DepthwiseRows:
    """Emits the depthwise convolution of some output rows of one channel block."""

    def __init__(self, k: Kernel, shape: ConvShape, mr: int, x: Pointer, w: Pointer, bias: Pointer, put: Put) -> None:
        self.k, self.s, self.mr, self.put = k, shape, mr, put
        self.x, self.w, self.bias = x, w, bias
        s = self.s
        self.ih, self.iw = k.size(s.ih), k.size(s.iw)
        self.oh, self.ow = k.size(s.oh), k.size(s.ow)
        self.blocks = -(-s.groups // BLOCK)
        self.row_inside = self._inside(s.pt, s.sh, s.dh, s.kh, self.ih, self.oh)
        self.column_inside = self._inside(s.pl, s.sw, s.dw, s.kw, self.iw, self.ow)

    def _inside(
        self, pad: int, stride: int, dilation: int, taps: int, extent: Index, out: Index
    ) -> tuple[Index, Index]:
        """Output positions [lo, hi) whose whole window lies inside the input."""
        k = self.k
        lo = k.index_min(-(-pad // stride), out)
        room = extent + pad - (taps - 1) * dilation
        hi = k.index_min((k.index_max(room, 0) + (stride - 1)) // stride, out)
        return lo, k.index_max(lo, hi)

    def emit(self, image: Index, block: Index, row0: Index, row1: Index) -> None:
        """Output rows row0..row1."""
        k, s = self.k, self.s
        plane = _Plane(image, block)
        lo, hi = self.row_inside
        everything = range(s.kh)
        with k.loop("top", row0, k.index_min(row1, lo)) as row:
            self._columns(plane, row, 1, self._edge(row, s.pt, s.sh, s.dh, s.kh, self.ih))
        start, stop = k.index_max(row0, lo), k.index_max(k.index_max(row0, lo), k.index_min(row1, hi))

        def middle(first: Index, rows: int) -> None:
            self._columns(plane, start + first, rows, _Taps([everything] * rows))

        for_tiles(k, "row", stop - start, self._rows_together(), middle)
        with k.loop("bottom", k.index_max(row0, hi), row1) as row:
            self._columns(plane, row, 1, self._edge(row, s.pt, s.sh, s.dh, s.kh, self.ih))

    def _rows_together(self) -> int:
        """Rows per register tile: several when the image is narrow."""
        ow = self.ow
        return max(1, min(self.mr // ow, 4)) if isinstance(ow, int) and ow else 1

    def _edge(self, at: Index, pad: int, stride: int, dilation: int, taps: int, extent: Index) -> _Taps:
        """The taps of output position `at` that fall inside the input."""
        k = self.k
        origin = at * stride
        first = k.index_max(pad - origin + (dilation - 1), 0) // dilation
        last = k.index_min(k.index_max(extent + pad - origin + (dilation - 1), 0) // dilation, taps)
        return _Taps(None, first, k.index_max(first, last))

    def _columns(self, plane: _Plane, row: Index, rows: int, row_taps: _Taps) -> None:
        k, s = self.k, self.s
        most = max(1, self.mr // rows)
        if isinstance(self.ow, int) and isinstance(self.iw, int):
            self._constant_columns(plane, row, rows, row_taps, most)
            return
        lo, hi = self.column_inside
        with k.loop("left", 0, lo) as column:
            self._tile(plane, row, rows, column, 1, row_taps, self._edge(column, s.pl, s.sw, s.dw, s.kw, self.iw))

        def middle(first: Index, columns: int) -> None:
            self._tile(plane, row, rows, lo + first, columns, row_taps, _Taps([range(s.kw)] * columns))

        for_tiles(k, "col", hi - lo, most, middle)
        with k.loop("right", hi, self.ow) as column:
            self._tile(plane, row, rows, column, 1, row_taps, self._edge(column, s.pl, s.sw, s.dw, s.kw, self.iw))

    def _constant_columns(self, plane: _Plane, row: Index, rows: int, row_taps: _Taps, most: int) -> None:
        """Evenly cut tiles; the ones that touch an edge know their taps at build time."""
        k, s = self.k, self.s
        width, iw = self.ow, self.iw
        assert isinstance(width, int) and isinstance(iw, int)
        lo, hi = self.column_inside
        assert isinstance(lo, int) and isinstance(hi, int)
        tiles = max(1, -(-width // most))
        cuts = [width * i // tiles for i in range(tiles + 1)]
        inner = [i for i in range(tiles) if cuts[i] >= lo and cuts[i + 1] <= hi]
        for i in range(tiles):
            size = cuts[i + 1] - cuts[i]
            if i in inner and i - 1 in inner and size == cuts[i] - cuts[i - 1]:
                continue  # part of the loop that began before
            if i not in inner:
                valid = [
                    [t for t in range(s.kw) if 0 <= c * s.sw + t * s.dw - s.pl < iw]
                    for c in range(cuts[i], cuts[i + 1])
                ]
                self._tile(plane, row, rows, cuts[i], size, row_taps, _Taps(valid))
                continue
            run = i
            while run in inner and cuts[run + 1] - cuts[run] == size:
                run += 1
            with k.loop("col", cuts[i], cuts[run], size) as column:
                self._tile(plane, row, rows, column, size, row_taps, _Taps([range(s.kw)] * size))

    def _tile(
        self, plane: _Plane, row: Index, rows: int, column: Index, columns: int, row_taps: _Taps, column_taps: _Taps
    ) -> None:
        k, s = self.k, self.s
        acc = k.tile("acc", rows, columns)
        acc.fill(self.bias.load(BLOCK, plane.block * BLOCK))
        if row_taps.valid is None:
            with k.loop("kh", row_taps.first, row_taps.last) as kh:
                self._window_row(acc, plane, row, 0, column, kh, column_taps)
        else:
            for kh in range(s.kh):
                for r in range(rows):
                    self._window_row(acc, plane, row, r, column, kh, column_taps)
        for r in range(rows):
            pixels = [acc[r, c] for c in range(columns)]
            self.put(plane.image, plane.block, row + r, column, pixels)

    def _window_row(self, acc: Tile, plane: _Plane, row: Index, r: int, column: Index, kh: Index, taps: _Taps) -> None:
        """Adds one row of the window for all pixels of tile row `r`."""
        k, s = self.k, self.s
        weights = self.w.offset((plane.block * s.kh + kh) * (s.kw * BLOCK))
        line = (plane.image * self.blocks + plane.block) * self.ih + (row + r) * s.sh + kh * s.dh - s.pt
        source = self.x.offset((line * self.iw + column * s.sw - s.pl) * BLOCK)
        columns = max(c for _, c in acc) + 1
        if taps.valid is None:
            with k.loop("kw", taps.first, taps.last) as kw:
                weight = weights.load(BLOCK, kw * BLOCK)
                acc[r, 0] = k.fma(source.load(BLOCK, kw * (s.dw * BLOCK)), weight, acc[r, 0])
            return
        for kw in range(s.kw):
            weight = weights.load(BLOCK, kw * BLOCK)
            for c in range(columns):
                if kw in taps.valid[c]:
                    acc[r, c] = k.fma(source.load(BLOCK, (c * s.sw + kw * s.dw) * BLOCK), weight, acc[r, c])
