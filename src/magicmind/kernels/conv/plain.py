"""Convolution and transposed convolution of plain tensors, in any number of spatial axes up to three.

The kernel for what the blocked ones leave: weights or padding computed at run time, three spatial axes, float64, and
transposed convolutions that do not split into phases. A vector is 16 output channels, so strides, dilations and padding
cost nothing per lane; a tile is a few neighbouring pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from magicmind.codegen import ir
from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Tile
from magicmind.codegen.target import BLOCK, Target
from magicmind.kernels.conv.pack import pad_axis
from magicmind.kernels.spec import count_params
from magicmind.kernels.tiles import for_tiles
from magicmind.kernels.work import share

_PIXELS = 8
SCRATCH_BYTES = BLOCK * 8

Three = tuple[int, int, int]
Sizes = tuple[Size, Size, Size]


@dataclass(frozen=True)
class PlainConv:
    """out[n, m, o] = bias[m] + sum over c and taps t of x[n, c, place(o, t)] * w[m, c, t].

    place(o, t) is o * stride + t * dilation - begin; `transposed`: (o + begin - t * dilation) / stride where that is a
    whole number. Places outside of the input count as zero. `ic` and `oc` are channels per group.
    Pointers: x, weights (`pack_plain`), bias where `has_bias`, out. Scratch: SCRATCH_BYTES.
    """

    dtype: str
    transposed: bool
    has_bias: bool
    n: Size
    groups: int
    ic: int
    oc: int
    kernel: Three
    strides: Three
    dilations: Three
    begin: Sizes
    input: Sizes
    output: Sizes

    @property
    def name(self) -> str:
        kind = "conv_transpose" if self.transposed else "conv"
        window = "x".join(map(str, self.kernel))
        return f"{self.dtype}_{kind}_plain_{window}_{self.groups}x{self.ic}x{self.oc}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, [self.dtype] * (3 + self.has_bias), count_params(self))
        _Emitter(k, self).emit()
        return k


class _Emitter:
    def __init__(self, k: Kernel, spec: PlainConv) -> None:
        self.k, self.spec = k, spec
        self.x, self.weights, *rest, self.out = k.pointers
        self.bias = rest[0] if rest else None
        self.begin, self.input, self.output = ([k.size(v) for v in s] for s in (spec.begin, spec.input, spec.output))
        self.volume = self.input[0] * self.input[1] * self.input[2]
        self.out_volume = self.output[0] * self.output[1] * self.output[2]
        self.blocks = -(-spec.oc // BLOCK)

    def emit(self) -> None:
        """An item is a row of output pixels of one image and block of channels."""
        k, spec = self.k, self.spec
        depth, height, width = self.output
        work = width * (spec.ic * spec.kernel[0] * spec.kernel[1] * spec.kernel[2])
        first, last = share(k, k.size(spec.n) * (spec.groups * self.blocks) * depth * height, work)
        with k.loop("row", first, last) as item:
            place, row = item // height, item % height
            channels, plane = place // depth, place % depth
            block, image_group = channels % self.blocks, channels // self.blocks

            def tile(start: Index, size: int) -> None:
                acc = k.tile("acc", size, dtype=spec.dtype)
                self._start(acc, image_group % spec.groups, block)
                self._taps(acc, image_group, block, plane, row, start, size)
                self._store(acc, image_group, block, (plane * height + row) * width + start)

            for_tiles(k, "column", width, _PIXELS, tile)

    def _start(self, acc: Tile, group: Index, block: Index) -> None:
        k, oc = self.k, self.spec.oc
        value = k.const(0.0, self.spec.dtype, BLOCK)
        if self.bias is not None:
            mask = None if oc % BLOCK == 0 else k.first_lanes(oc - block * BLOCK, BLOCK)
            value = self.bias.load(BLOCK, group * oc + block * BLOCK, mask)
        acc.fill(value)

    def _place(self, o: Index, tap: Index, axis: int) -> tuple[Index, ir.Value]:
        """Where output `o` reads for `tap` along one axis, and whether that is inside."""
        k, spec = self.k, self.spec
        step = tap * spec.dilations[axis]
        if spec.transposed:
            raw = o + self.begin[axis] - step
            stride = spec.strides[axis]
            at = raw // stride
            whole = k.b.icmp_signed("==", k.i64(raw % stride), k.i64(0))
            return at, k.b.and_(whole, self._inside(at, axis))
        at = o * spec.strides[axis] + step - self.begin[axis]
        return at, self._inside(at, axis)

    def _inside(self, at: Index, axis: int) -> ir.Value:
        """0 <= at < size, in one unsigned comparison."""
        return self.k.b.icmp_unsigned("<", self.k.i64(at), self.k.i64(self.input[axis]))

    def _taps(
        self, acc: Tile, image_group: Index, block: Index, plane: Index, row: Index, start: Index, size: int
    ) -> None:
        k, spec = self.k, self.spec
        kd, kh, kw = spec.kernel
        image = self.x.offset(image_group * spec.ic * self.volume)
        group = image_group % spec.groups
        packed = self.weights.offset((group * self.blocks + block) * (kd * kh * kw * spec.ic * BLOCK))
        with k.loop("tap0", 0, kd) as td:
            at_plane, inside = self._place(plane, td, 0)
            with k.when(inside), k.loop("tap1", 0, kh) as th:
                at_row, inside_too = self._place(row, th, 1)
                with k.when(inside_too), k.loop("tap2", 0, kw) as tw:
                    source = image.offset((at_plane * self.input[1] + at_row) * self.input[2])
                    weights = packed.offset(((td * kh + th) * kw + tw) * (spec.ic * BLOCK))
                    self._pixels(acc, source, weights, start, size, tw)

    def _pixels(self, acc: Tile, source: Pointer, weights: Pointer, start: Index, size: int, tap: Index) -> None:
        """The tap's share of every pixel: together where all read inside, else one by one."""
        k = self.k
        places = [self._place(start + p, tap, 2) for p in range(size)]
        together = places[0][1]
        for _, inside in places[1:]:
            together = k.b.and_(together, inside)
        with k.when(together):
            self._multiply(acc, source, weights, {p: at for p, (at, _) in enumerate(places)})
        if size == 1:
            return
        with k.when(k.b.not_(together)):
            for p, (at, inside) in enumerate(places):
                with k.when(inside):
                    self._multiply(acc, source, weights, {p: at})

    def _multiply(self, acc: Tile, source: Pointer, weights: Pointer, places: dict[int, Index]) -> None:
        k = self.k
        with k.loop("channel", 0, self.spec.ic) as c:
            w = weights.load(BLOCK, c * BLOCK)
            for p, at in places.items():
                value = k.broadcast(source.load(1, at + c * self.volume), BLOCK)
                acc[p,] = k.fma(value, w, acc[p,])

    def _store(self, acc: Tile, image_group: Index, block: Index, pixel: Index) -> None:
        """Channels lie apart in memory: each vector goes through scratch."""
        k, spec = self.k, self.spec
        channel = image_group * spec.oc + block * BLOCK
        count = k.index_min(spec.oc - block * BLOCK, BLOCK)
        buffer = k.scratch.cast(spec.dtype)
        for (p,) in acc:
            buffer.store(acc[p,])
            with k.loop("lane", 0, count) as lane:
                self.out.store(buffer.load(1, lane), (channel + lane) * self.out_volume + pixel + p)


def pack_plain(weights: npt.NDArray[np.generic], groups: int, *, transposed: bool) -> npt.NDArray[np.generic]:
    """w[groups * oc, ic, taps...] (`transposed`: w[groups * ic, oc, taps...]) -> [group][block][tap][ic][16]."""
    outer, inner = weights.shape[:2]
    split = weights.reshape(groups, outer // groups, inner, -1)
    by_channel = split if not transposed else split.transpose(0, 2, 1, 3)
    padded = pad_axis(by_channel, 1, BLOCK)
    blocks = padded.reshape(groups, -1, BLOCK, *padded.shape[2:])
    return np.ascontiguousarray(blocks.transpose(0, 1, 4, 3, 2))


@dataclass(frozen=True)
class PackPlain:
    """`pack_plain` at run time. Pointers: w, packed."""

    dtype: str
    transposed: bool
    groups: int
    ic: int
    oc: int
    taps: int

    @property
    def name(self) -> str:
        return f"{self.dtype}_pack_{self.groups}x{self.ic}x{self.oc}x{self.taps}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype), count_params(self))
        w, packed = k.pointers
        blocks = -(-self.oc // BLOCK)
        first, last = share(k, self.groups * blocks * self.taps, self.ic * BLOCK)
        ic_step, oc_step = (self.oc * self.taps, self.taps) if self.transposed else (self.taps, self.ic * self.taps)
        with k.loop("item", first, last) as item:
            tap, place = item % self.taps, item // self.taps
            block, group = place % blocks, place // blocks
            source = w.offset(group * (self.ic * self.oc * self.taps) + block * (BLOCK * oc_step) + tap)
            count = k.index_min(self.oc - block * BLOCK, BLOCK)
            with k.loop("channel", 0, self.ic) as c:
                row = packed.offset((item * self.ic + c) * BLOCK)
                row.store(k.const(0.0, self.dtype, BLOCK))
                with k.loop("lane", 0, count) as lane:
                    row.store(source.load(1, c * ic_step + lane * oc_step), lane)
        return k
