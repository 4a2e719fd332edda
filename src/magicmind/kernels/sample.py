"""Reading images between their pixels: GridSample, the samples of DeformConv, RoiAlign.

All of it is one element at a time: positions are data, so neighbouring results read unrelated memory. What a position
costs to compute is shared by all channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product as combinations

from magicmind.codegen import math as vm
from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.target import Target
from magicmind.codegen.values import Vec
from magicmind.kernels.scalar import load_value, store_value
from magicmind.kernels.spec import count_params
from magicmind.kernels.work import product, share, unravel

Tap = tuple[Vec, Vec, Vec]
"""Position on one axis (i64, inside), weight, and whether it counts (bool)."""

_CUBIC = -0.75


def _float(k: Kernel, size: Index) -> Vec:
    return k.number(size, "f32")


def _clamp(x: Vec, low: float, high: Vec) -> Vec:
    return x.k.min(x.k.max(x, low), high)


@dataclass(frozen=True)
class GridSample:
    """out[n, c, o...] = x[n, c] at grid[n, o..., :], whose last axis counts from the innermost axis of the image.

    Args: x [n, c, sizes...], grid [n, points, rank], out [n, c, points]; float32. mode: nearest, linear, cubic.
    padding: zeros, border, reflection. Positions -1 and 1 are centres of corner pixels (`corners`) or their edges.
    """

    mode: str
    padding: str
    corners: bool
    batch: Size
    channels: Size
    sizes: tuple[Size, ...]
    points: Size

    @property
    def name(self) -> str:
        return f"grid_sample_{self.mode}_{self.padding}_{'x'.join(map(str, self.sizes))}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, ("f32",) * 3, count_params(self))
        x, grid, out = k.pointers
        sizes = [k.size(s) for s in self.sizes]
        batch, channels, points = k.size(self.batch), k.size(self.channels), k.size(self.points)
        plane, rank = product(sizes), len(sizes)
        first, last = share(k, batch * points, channels * (4**rank if self.mode == "cubic" else 2**rank) + 20)
        with k.loop("item", first, last) as item:
            n, point = unravel(item, (batch, points))
            place = grid.offset(item * rank)
            taps = [self._taps(k, load_value(place, at=rank - 1 - axis), sizes[axis]) for axis in range(rank)]
            with k.loop("c", 0, channels) as c:
                row = n * channels + c
                store_value(out, weighted(k, x.offset(row * plane), taps, sizes), row * points + point)
        return k

    def _taps(self, k: Kernel, position: Vec, size: Index) -> list[Tap]:
        """Which pixels of one axis are read, and how much of each."""
        n = _float(k, size)
        place = (position + 1.0) * 0.5 * (n - 1.0) if self.corners else ((position + 1.0) * n - 1.0) * 0.5
        if self.padding == "zeros":  # nothing is read from three pixels outside on, nor an infinity or a NaN away
            near = place.compare(">=", -3.0) & place.compare("<=", n + 2.0)
            place = k.select(near, place, 0.0 * n - 3.0)
        if self.mode == "nearest":
            return [self._tap(k, vm.round_even(self._padded(k, place, n)), k.const(1.0, "f32"), n)]
        if self.mode == "linear":
            place = self._padded(k, place, n)
            below = vm.floor(place)
            share_above = place - below
            return [self._tap(k, below, 1.0 - share_above, n), self._tap(k, below + 1.0, share_above, n)]
        below = vm.floor(place)
        weights = _cubic_weights(place - below)
        return [self._tap(k, self._padded(k, below + (i - 1.0), n), w, n) for i, w in enumerate(weights)]

    def _padded(self, k: Kernel, place: Vec, n: Vec) -> Vec:
        """A position outside brought inside, as the padding says."""
        if self.padding == "border":
            return _clamp(place, 0.0, n - 1.0)
        if self.padding == "zeros":
            return place
        low, span = (0.0, n - 1.0) if self.corners else (-0.5, n)
        distance = vm.absolute(place - low)
        turns = vm.floor(distance / span)
        rest = distance - turns * span
        odd = (turns - vm.floor(turns * 0.5) * 2.0).compare("!=", 0.0)
        mirrored = k.select(odd, span - rest, rest) + low
        mirrored = k.select(span.compare("==", 0.0), 0.0 * n, mirrored)
        return _clamp(mirrored, 0.0, n - 1.0)

    def _tap(self, k: Kernel, place: Vec, weight: Vec, n: Vec) -> Tap:
        return tap(k, place, weight, n)


def tap(k: Kernel, place: Vec, weight: Vec, n: Vec) -> Tap:
    """A whole position as an index that is safe to read, and whether it was inside."""
    inside = place.compare(">=", 0.0) & place.compare("<", n)
    return k.convert(_clamp(place, 0.0, n - 1.0), "i64"), weight, inside


def _cubic_weights(t: Vec) -> list[Vec]:
    """Keys' convolution with a = -0.75, for the pixels at distance 1 + t, t, 1 - t, 2 - t."""
    a = _CUBIC

    def near(d: Vec) -> Vec:
        return ((a + 2) * d - (a + 3)) * d * d + 1.0

    def far(d: Vec) -> Vec:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


def weighted(k: Kernel, image: Pointer, taps: Sequence[Sequence[Tap]], sizes: Sequence[Index]) -> Vec:
    """The sum of pixels times weights over all combinations of taps; those outside count as zero."""
    total = k.const(0.0, "f32")
    for combination in combinations(*taps):
        at: Index = 0
        weight, inside = k.const(1.0, "f32"), k.const(True, "bool")
        for (index, share_, counts), size in zip(combination, sizes, strict=True):
            at = at * size + k.index(index)
            weight, inside = weight * share_, inside & counts
        total = total + k.select(inside, load_value(image, at=at), 0.0) * weight
    return total


def bilinear(k: Kernel, place: Vec, n: Vec) -> list[Tap]:
    """The two pixels next to a position; those outside count as zero."""
    below = vm.floor(place)
    return [tap(k, below, 1.0 - (place - below), n), tap(k, below + 1.0, place - below, n)]


@dataclass(frozen=True)
class DeformSample:
    """out[n, c, tap, o] = mask[n, g, tap, o] * x[n, c] at the place of (o, tap), moved by offset[n, g, tap, axis, o].

    Args: x [n, c, h, w], offset [n, groups, taps, 2, oh * ow], mask [n, groups, taps, oh * ow], out
    [n, c, taps, oh * ow]; float32. geometry: per axis (taps, stride, dilation, padding before).
    """

    geometry: tuple[tuple[int, int, int, int], tuple[int, int, int, int]]
    batch: Size
    channels: Size
    groups: int
    sizes: tuple[Size, Size]
    outs: tuple[Size, Size]

    @property
    def name(self) -> str:
        return f"deform_sample_{self.channels}_{'x'.join(map(str, self.outs))}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, ("f32",) * 4, count_params(self))
        x, offset, mask, out = k.pointers
        sizes, outs = [k.size(s) for s in self.sizes], [k.size(s) for s in self.outs]
        batch, channels = k.size(self.batch), k.size(self.channels)
        taps = self.geometry[0][0] * self.geometry[1][0]
        per_group, pixels, plane = channels // self.groups, product(outs), product(sizes)
        extents = (batch, self.groups, taps, *outs)
        first, last = share(k, product(extents), per_group * 4 + 20)
        with k.loop("item", first, last) as item:
            n, g, t, row, column = unravel(item, extents)
            pixel = row * outs[1] + column
            base = (n * self.groups + g) * taps + t
            places = []
            parts = (t // self.geometry[1][0], t % self.geometry[1][0])
            for axis, (at, part) in enumerate(zip((row, column), parts, strict=True)):
                _, stride, dilation, pad = self.geometry[axis]
                moved = load_value(offset, at=(base * 2 + axis) * pixels + pixel)
                places.append(k.number(at * stride + part * dilation - pad, "f32") + moved)
            taps_here = [bilinear(k, p, _float(k, s)) for p, s in zip(places, sizes, strict=True)]
            factor = load_value(mask, at=base * pixels + pixel)
            with k.loop("c", 0, per_group) as c:
                channel = n * channels + g * per_group + c
                value = weighted(k, x.offset(channel * plane), taps_here, sizes) * factor
                store_value(out, value, (channel * taps + t) * pixels + pixel)
        return k


@dataclass(frozen=True)
class RoiAlign:
    """out[r, c, py, px]: average (or maximum) of bilinear samples of x[batch[r], c] in one cell of box r.

    Args: x [n, c, h, w], rois [count, 4] (x1, y1, x2, y2), batch indices [count] of i64, out [count, c, ph, pw].
    sampling: samples per cell and axis; 0: as many as a cell has pixels, rounded up. half_pixel: boxes are moved by
    -0.5 and may be smaller than a pixel.
    """

    maximum: bool
    half_pixel: bool
    scale: float
    sampling: int
    batch: Size
    channels: Size
    sizes: tuple[Size, Size]
    count: Size
    cells: tuple[int, int]

    @property
    def name(self) -> str:
        return f"roi_align_{'max' if self.maximum else 'avg'}_{self.cells[0]}x{self.cells[1]}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, ("f32", "f32", "i64", "f32"), count_params(self))
        x, rois, batches, out = k.pointers
        sizes = [k.size(s) for s in self.sizes]
        count, channels, plane = k.size(self.count), k.size(self.channels), product(sizes)
        extents = (count, channels, *self.cells)
        first, last = share(k, product(extents), 4 * max(self.sampling, 2) ** 2)
        with k.loop("item", first, last) as item:
            r, c, *cell = unravel(item, extents)
            box = [load_value(rois, at=r * 4 + i) * self.scale - (0.5 if self.half_pixel else 0.0) for i in range(4)]
            image = k.index_max(k.index_min(k.index(batches.load(at=r)), k.size(self.batch) - 1), 0)
            source = x.offset((image * channels + c) * plane)
            spans = [self._span(k, box[1 - axis], box[3 - axis], axis) for axis in range(2)]
            store_value(out, self._cell(k, source, sizes, cell, spans), item)
        return k

    def _span(self, k: Kernel, start: Vec, end: Vec, axis: int) -> tuple[Vec, Vec, Index]:
        """Start of the box, size of a cell, samples per cell on one axis."""
        length = end - start
        cell = (length if self.half_pixel else k.max(length, 1.0)) / float(self.cells[axis])
        samples: Index = self.sampling
        if not self.sampling:
            samples = k.index(k.convert(vm.ceil(cell), "i64"))
        return start, cell, samples

    def _cell(
        self, k: Kernel, source: Pointer, sizes: list[Index], cell: list[Index], spans: list[tuple[Vec, Vec, Index]]
    ) -> Vec:
        total = k.tile("total", 1, dtype="f32", lanes=1)
        total.fill(k.const(-vm.INF if self.maximum else 0.0, "f32"))
        number = [samples for _, _, samples in spans]
        with k.loop("sy", 0, number[0]) as sy, k.loop("sx", 0, number[1]) as sx:
            taps = [
                self._taps(k, start + (_float(k, at) + (_float(k, s) + 0.5) / _float(k, samples)) * size, sizes[axis])
                for axis, ((start, size, samples), at, s) in enumerate(zip(spans, cell, (sy, sx), strict=True))
            ]
            total[0,] = self._joined(total[0,], source, sizes, taps)
        if self.maximum:
            return k.select(total[0,].compare("==", -vm.INF), 0.0 * total[0,], total[0,])
        samples = k.index_max(number[0] * number[1], 1)
        return total[0,] / _float(k, samples)

    def _joined(self, total: Vec, source: Pointer, sizes: list[Index], taps: list[list[Tap]]) -> Vec:
        k = total.k
        if not self.maximum:
            return total + weighted(k, source, taps, sizes)
        # The maximum is over the weighted pixels themselves, as onnxruntime has it.
        for y, x in combinations(*taps):
            at = k.index(y[0]) * sizes[1] + k.index(x[0])
            value = k.select(y[2] & x[2], load_value(source, at=at), 0.0) * (y[1] * x[1])
            total = k.max(total, value)
        return total

    def _taps(self, k: Kernel, place: Vec, size: Index) -> list[Tap]:
        """Positions up to one pixel outside read the border; beyond, nothing."""
        n = _float(k, size)
        inside = place.compare(">=", -1.0) & place.compare("<=", n)
        clamped = _clamp(place, 0.0, n - 1.0)
        below = vm.floor(clamped)
        above = k.min(below + 1.0, n - 1.0)
        rest = clamped - below
        return [(k.convert(below, "i64"), 1.0 - rest, inside), (k.convert(above, "i64"), rest, inside)]
