"""Pooling over windows: maximum, average and Lp, for any number of spatial axes.

One generator serves both layouts. Blocked memory ([planes][spatial...][16]) works on one 16-lane vector per pixel;
plain memory ([planes][spatial...]) on one pixel, or on a vector of neighbouring outputs where no edge is near.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Tile, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import FLOATS, ITEMSIZE, UNSIGNED
from magicmind.ir.scalar import ScalarProgram
from magicmind.kernels.scalar import compute_dtype, emit_program, load_value, store_value
from magicmind.kernels.strided import load_strided
from magicmind.kernels.tiles import for_tiles
from magicmind.kernels.work import params_of, product, ravel, share, unravel

_UNROLL = 8  # window widths up to this are written out
_TAPS_OF_WORDS = 65535 // 255
"""Up to so many bytes add up to 16 bits."""


@dataclass(frozen=True)
class Window:
    """One spatial axis of a pool: `size` inputs, `out` outputs, padding `before` and `after`."""

    size: Size
    out: Size
    window: Size
    stride: int = 1
    dilation: int = 1
    before: Size = 0
    after: Size = 0


@dataclass(frozen=True)
class Requantise:
    """An average of uint8 as uint8: saturate(round(sum of (x - x_zero) * (scale / count)) + y_zero), halves to even.

    scale: that of the input divided by that of the result. The sum is exact, the rest float32, rounded alike on every
    target.
    """

    scale: float
    x_zero: int = 0
    y_zero: int = 0

    def finish(self, k: Kernel, total: Vec, count: Index, inside: Index) -> Vec:
        """From the sum of `inside` elements as they are."""
        total = k.convert(total, "i32")
        if self.x_zero:
            total = total - k.broadcast(k.number(inside * self.x_zero, "i32"), total.lanes)
        if isinstance(count, int):
            factor = k.const(float(np.float32(self.scale) / np.float32(count)), "f32")
        else:
            factor = k.const(self.scale, "f32") / k.number(count, "f32")
        program = ScalarProgram.parse(["t0 = Mul(x0, x1)", f"t1 = Quantise(t0, {self.y_zero}, UINT8)"])
        return emit_program(k, program, {"x0": k.convert(total, "f32"), "x1": k.broadcast(factor, total.lanes)})


@dataclass(frozen=True)
class Reduction:
    """What a window's elements become: `max`, `avg` or `lp` (the p-th root of the sum of |x|^p), p 1 or 2.

    Any type has a maximum; float16 is computed in float32; an average of uint8 needs `requantise`.
    """

    kind: str
    p: int = 2
    requantise: Requantise | None = None

    def compute(self, dtype: str, taps: Index | None) -> str:
        """The type that `taps` elements (at most; None: any number) are added up in."""
        if self.requantise is None:
            return compute_dtype(dtype)
        return "u16" if isinstance(taps, int) and taps <= _TAPS_OF_WORDS else "i32"

    def start(self, k: Kernel, dtype: str, lanes: int) -> Vec:
        return k.const(lowest(dtype) if self.kind == "max" else 0, dtype, lanes)

    def add(self, k: Kernel, acc: Vec, x: Vec) -> Vec:
        if self.kind == "max":
            return k.max(x, acc)
        return acc + self._power(k, x)

    def merge(self, k: Kernel, a: Vec, b: Vec) -> Vec:
        """Joins two partial results."""
        return k.max(b, a) if self.kind == "max" else a + b

    def finish(self, k: Kernel, acc: Vec, count: Index, inside: Index) -> Vec:
        """The result of `inside` elements, `count` being the divisor of an average."""
        if self.requantise is not None:
            return self.requantise.finish(k, acc, count, inside)
        if self.kind == "avg":
            return acc / k.broadcast(k.number(count, acc.dtype), acc.lanes)
        if self.kind == "lp" and self.p == 2:
            kind = acc.value.type
            return Vec(k, k.intrinsic("llvm.sqrt", kind, [acc.value], [kind]), acc.dtype, acc.lanes)
        return acc

    def _power(self, k: Kernel, x: Vec) -> Vec:
        if self.kind == "avg":
            return x
        return x * x if self.p == 2 else k.select(x.compare("<", 0), -x, x)

    def __str__(self) -> str:
        return f"lp{self.p}" if self.kind == "lp" else self.kind


def lowest(dtype: str) -> float | int:
    """The neutral element of a maximum."""
    if dtype in FLOATS:
        return float("-inf")
    bits = {"i8": 7, "i16": 15, "i32": 31, "i64": 63}
    return 0 if dtype in UNSIGNED else -(1 << bits[dtype])


@dataclass(frozen=True)
class Pool:
    """out[plane, o...] = reduction of in[plane, o * stride - before + t * dilation] over the window's taps t inside.

    Args: in [planes, size..., unit], out [planes, out..., unit] of `dtype`; `unit` is 16 (blocked) or 1 (plain).
    The average divides by the taps inside the input or, with `count_pad`, inside the padded input.
    """

    reduction: Reduction
    planes: Size
    axes: tuple[Window, ...]
    unit: int
    dtype: str = "f32"
    count_pad: bool = False

    @property
    def name(self) -> str:
        shape = "x".join(str(a.window) for a in self.axes)
        kind = "" if self.dtype == "f32" else f"{self.dtype}_"
        return f"{kind}{self.reduction}pool_{shape}s{self.axes[-1].stride}_{'blocked' if self.unit > 1 else 'plain'}"

    def build(self, target: Target, symbol: str) -> Kernel:
        params = params_of(*_sizes(self))
        k = Kernel(symbol, target, (self.dtype, self.dtype), params)
        _PoolEmitter(k, self).rows()
        return k


def _sizes(spec: Pool | MaxPoolIndices) -> list[Size]:
    return [spec.planes, *(s for a in spec.axes for s in (a.size, a.out, a.window, a.before, a.after))]


class _Axis:
    """A `Window` with its sizes as indices of generated code."""

    def __init__(self, k: Kernel, w: Window) -> None:
        self.k = k
        self.size, self.out, self.window = k.size(w.size), k.size(w.out), k.size(w.window)
        self.before, self.after = k.size(w.before), k.size(w.after)
        self.stride, self.dilation = w.stride, w.dilation

    def taps(self, o: Index) -> tuple[Index, Index, Index]:
        """Of output `o`: first input index (may be negative), first and last + 1 tap inside the input."""
        k = self.k
        start = o * self.stride - self.before
        low = k.ceildiv(k.index_max(0 - start, 0), self.dilation)
        high = k.index_min(self.window, self._within(self.size, start))
        return start, k.index_min(low, high), high

    def padded_taps(self, start: Index) -> Index:
        """Taps inside the padded input."""
        return self.k.index_min(self.window, self._within(self.size + self.after, start))

    def _within(self, end: Index, start: Index) -> Index:
        return self.k.ceildiv(self.k.index_max(end - start, 0), self.dilation)

    def interior(self) -> tuple[Index, Index]:
        """The outputs [first, last) whose whole window lies inside the input."""
        k = self.k
        first = k.index_min(k.ceildiv(self.before, self.stride), self.out)
        room = self.size + self.before - (self.window - 1) * self.dilation - 1 + self.stride
        last = k.index_min(k.index_max(room, 0) // self.stride, self.out)
        return first, k.index_max(first, last)


class _PoolEmitter:
    """Writes the rows of a `Pool`: edges one output at a time, the interior in register tiles."""

    def __init__(self, k: Kernel, spec: Pool) -> None:
        self.k, self.spec, self.unit = k, spec, spec.unit
        self.axes = [_Axis(k, a) for a in spec.axes]
        self.last = self.axes[-1]
        self.planes = k.size(spec.planes)
        windows = [w.window for w in spec.axes if isinstance(w.window, int)]
        self.compute = spec.reduction.compute(spec.dtype, prod(windows) if len(windows) == len(spec.axes) else None)
        self.source, self.target = k.pointers

    def rows(self) -> None:
        """Every output row (plane and all coordinates but the last), shared between threads."""
        k, axes = self.k, self.axes
        outer = [self.planes, *(a.out for a in axes[:-1])]
        cost = self.last.out * product([a.window for a in axes])
        first, last = share(k, product(outer), cost)
        with k.loop("row", first, last) as row:
            plane, *coordinates = unravel(row, outer)
            taps = [a.taps(o) for a, o in zip(axes, coordinates, strict=False)]
            source = self.source.offset(plane * product([a.size for a in axes]) * self.unit)
            target = self.target.offset(row * self.last.out * self.unit)
            self.row(source, target, taps)

    def row(self, source: Pointer, target: Pointer, taps: Sequence[tuple[Index, Index, Index]]) -> None:
        k, last = self.k, self.last
        left, right = last.interior()
        for name, begin, end in (("left", 0, left), ("right", right, last.out)):
            with k.loop(name, begin, end) as o:
                self.outputs(source, target, taps, o, 1, last.taps(o), edge=True)
        if self.unit == 1 and last.stride <= 2 and ITEMSIZE[self.spec.dtype] <= ITEMSIZE["f32"]:
            left = self.vectors(source, target, taps, left, right)
        most = max(1, k.target.vregs // 2 // max(1, self.unit // k.target.lanes)) if self.unit > 1 else 1

        def tile(o: Index, size: int) -> None:
            first = left + o
            inside = (first * last.stride - last.before, 0, last.window)
            self.outputs(source, target, taps, first, size, inside, edge=False)

        for_tiles(k, "ox", right - left, min(8, most), tile)

    def vectors(
        self, source: Pointer, target: Pointer, taps: Sequence[tuple[Index, Index, Index]], left: Index, right: Index
    ) -> Index:
        """Plain memory: vectors of neighbouring outputs from `left`; returns the first output left over."""
        k, last = self.k, self.last
        lanes = BLOCK if ITEMSIZE[self.spec.dtype] == 1 else k.target.lanes
        # The strided load reads stride - 1 elements beyond the last tap: the last output of a row stays out of it.
        count = k.index_max(right - left - (last.stride - 1), 0) // lanes * lanes
        with k.loop("oxv", left, left + count, lanes) as o:
            load = self.strided(last.stride, lanes)
            acc = self.reduce(source, taps, (o * last.stride - last.before, 0, last.window), 1, lanes, load)
            store_value(target, self.spec.reduction.finish(k, acc[0,], *self.divisor(taps, None)), at=o)
        return left + count

    def outputs(
        self,
        source: Pointer,
        target: Pointer,
        taps: Sequence[tuple[Index, Index, Index]],
        o: Index,
        size: int,
        last_taps: tuple[Index, Index, Index],
        *,
        edge: bool,
    ) -> None:
        """`size` neighbouring outputs from `o` that share their tap range along the last axis."""
        k, unit = self.k, self.unit
        acc = self.reduce(source, taps, last_taps, size, unit, lambda p, at: load_value(p, unit, at * unit))
        counts = self.divisor(taps, last_taps if edge else None)
        for i in range(size):
            store_value(target, self.spec.reduction.finish(k, acc[i,], *counts), at=(o + i) * unit)

    def reduce(
        self,
        source: Pointer,
        taps: Sequence[tuple[Index, Index, Index]],
        last_taps: tuple[Index, Index, Index],
        size: int,
        lanes: int,
        load: Callable[[Pointer, Index], Vec],
    ) -> Tile:
        """Register tile of `size` reductions; `load(p, i)` reads input pixel i (and its neighbours) of a row."""
        k, reduction, last = self.k, self.spec.reduction, self.last
        acc = k.tile("acc", size, dtype=self.compute, lanes=lanes)
        acc.fill(reduction.start(k, self.compute, lanes))
        begin, low, high = last_taps

        def row(offset: Index) -> None:
            pixels = source.offset(offset * last.size * self.unit)

            def tap(t: Index) -> None:
                for i in range(size):
                    x = load(pixels, begin + i * last.stride + t * last.dilation)
                    acc[i,] = reduction.add(k, acc[i,], k.convert(x, self.compute))

            if isinstance(low, int) and isinstance(high, int) and high - low <= _UNROLL:
                for t in k.unroll("kx", high - low):
                    tap(low + t)
            else:
                with k.loop("kx", low, high) as kx:
                    tap(kx)

        self.outer_taps(0, 0, taps, row)
        return acc

    def outer_taps(
        self, d: int, offset: Index, taps: Sequence[tuple[Index, Index, Index]], body: Callable[[Index], None]
    ) -> None:
        """`body(row offset)` for every tap of the axes before the last."""
        if d == len(taps):
            body(offset)
            return
        start, low, high = taps[d]
        axis = self.axes[d]
        with self.k.loop(f"k{d}", low, high) as t:
            self.outer_taps(d + 1, offset * axis.size + start + t * axis.dilation, taps, body)

    def divisor(
        self, taps: Sequence[tuple[Index, Index, Index]], last_taps: tuple[Index, Index, Index] | None
    ) -> tuple[Index, Index]:
        """Elements an average counts, and those it adds up; `last_taps` is None in the interior."""
        if self.spec.reduction.kind != "avg":
            return 1, 1
        last = self.last.window if last_taps is None else self.counted(self.last, last_taps)
        outer = [self.counted(a, t) for a, t in zip(self.axes, taps, strict=False)]
        inside = self.last.window if last_taps is None else last_taps[2] - last_taps[1]
        return self.k.index_max(product([*outer, last]), 1), product([*(t[2] - t[1] for t in taps), inside])

    def counted(self, axis: _Axis, taps: tuple[Index, Index, Index]) -> Index:
        start, low, high = taps
        return axis.padded_taps(start) if self.spec.count_pad else high - low

    def strided(self, stride: int, lanes: int) -> Callable[[Pointer, Index], Vec]:
        return lambda p, at: load_strided(self.k, p.offset(at), stride, lanes)


@dataclass(frozen=True)
class MaxPoolIndices:
    """Maximum pooling of plain memory that also tells where each maximum is.

    Args: in [planes, size...], out [planes, out...], indices i64 [planes, out...]: flat index into `in`, the first of
    equal ones; `column_major` counts the two last axes the other way round.
    """

    planes: Size
    axes: tuple[Window, ...]
    dtype: str = "f32"
    column_major: bool = False

    @property
    def name(self) -> str:
        return f"maxpool_{'x'.join(str(a.window) for a in self.axes)}_indices"

    def build(self, target: Target, symbol: str) -> Kernel:
        params = params_of(*_sizes(self))
        k = Kernel(symbol, target, (self.dtype, self.dtype, "i64"), params)
        axes = [_Axis(k, a) for a in self.axes]
        outer = [k.size(self.planes), *(a.out for a in axes)]
        first, last = share(k, product(outer), product([a.window for a in axes]))
        with k.loop("o", first, last) as o:
            plane, *coordinates = unravel(o, outer)
            taps = [a.taps(c) for a, c in zip(axes, coordinates, strict=True)]
            self._output(k, axes, plane * product([a.size for a in axes]), taps, o)
        return k

    def _output(
        self, k: Kernel, axes: Sequence[_Axis], base: Index, taps: Sequence[tuple[Index, Index, Index]], o: Index
    ) -> None:
        dtype = compute_dtype(self.dtype)
        best = k.tile("best", 1, dtype=dtype, lanes=1)
        best[0,] = k.const(lowest(dtype), dtype)
        where = k.variable(-1, "where")

        def visit(d: int, coordinates: list[Index]) -> None:
            if d < len(axes):
                start, low, high = taps[d]
                with k.loop(f"k{d}", low, high) as t:
                    visit(d + 1, [*coordinates, start + t * axes[d].dilation])
                return
            x = load_value(k.pointers[0], at=base + ravel(coordinates, [a.size for a in axes]))
            unset = k.number(where.get()).compare("<", 0)
            with k.when(x.compare(">", best[0,]) | unset):
                best[0,] = x
                where.set(base + self._flat(coordinates, [a.size for a in axes]))

        visit(0, [])
        store_value(k.pointers[1], best[0,], at=o)
        k.pointers[2].store(k.number(where.get()), at=o)

    def _flat(self, coordinates: list[Index], sizes: list[Index]) -> Index:
        if self.column_major and len(sizes) > 1:
            return ravel([*coordinates[:-2], coordinates[-1], coordinates[-2]], [*sizes[:-2], sizes[-1], sizes[-2]])
        return ravel(coordinates, sizes)
