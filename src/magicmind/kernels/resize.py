"""Resampling by tables: every output is a weighted sum of a few inputs along each resized axis."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Vec
from magicmind.codegen.target import Target
from magicmind.kernels.move import copy_span, spans, vector_lanes
from magicmind.kernels.scalar import compute_dtype, load_value, store_value
from magicmind.kernels.work import params_of, product, share, unravel

Taps = list[tuple[Index, Vec]]
"""(place, weight) of every tap."""


@dataclass(frozen=True)
class Resample:
    """out[plane, o..., u] = sum over taps of in[plane, index_a[t, o_a]..., u] * product of weight_a[t, o_a].

    Args: in [planes, sizes..., unit]; per axis an index table i32 [taps, out] and, if `weighted`, a weight table f32
    [taps, out]; out [planes, outs..., unit]. Unweighted is `nearest`: one tap, any `dtype`; weighted is f32, or f16
    computed in f32.
    With `outside`, an index of -1 stands for that value.
    Scratch: sizes[-1] floats per thread where unit is 1, weighted, and there are several axes.
    """

    planes: Size
    sizes: tuple[Size, ...]
    outs: tuple[Size, ...]
    taps: tuple[int, ...]
    unit: Size
    weighted: bool
    dtype: str = "f32"
    outside: float | None = None

    @property
    def name(self) -> str:
        return f"resize_{'x'.join(map(str, self.taps))}_to_{'x'.join(map(str, self.outs))}"

    @property
    def needs_scratch(self) -> bool:
        return self.weighted and self.unit == 1 and len(self.sizes) > 1

    def build(self, target: Target, symbol: str) -> Kernel:
        tables = ("i32", "f32") if self.weighted else ("i32",)
        pointers = (self.dtype, *(tables * len(self.sizes)), self.dtype)
        k = Kernel(symbol, target, pointers, params_of(self.planes, *self.sizes, *self.outs, self.unit))
        _Emitter(k, self).rows()
        return k


class _Emitter:
    def __init__(self, k: Kernel, spec: Resample) -> None:
        self.k, self.spec = k, spec
        self.sizes, self.outs = [k.size(s) for s in spec.sizes], [k.size(s) for s in spec.outs]
        self.unit = k.size(spec.unit)
        self.source, *tables, self.out = k.pointers
        step = 2 if spec.weighted else 1
        self.indices, self.weights = tables[::step], tables[1::step] if spec.weighted else []
        self.lanes = k.target.lanes if spec.weighted else vector_lanes(k, spec.dtype)

    def rows(self) -> None:
        """Output rows along the last axis, shared between threads."""
        k, spec = self.k, self.spec
        outer = [k.size(spec.planes), *self.outs[:-1]]
        per_pixel = k.ceildiv(self.unit, self.lanes) if spec.unit != 1 else 2
        first, last = share(k, product(outer), self.outs[-1] * per_pixel * _count(spec.taps))
        with k.loop("row", first, last) as row:
            plane, *coordinates = unravel(row, outer)
            lines = self.lines(plane * product(self.sizes), coordinates)
            out = self.out.offset(row * self.outs[-1] * self.unit)
            if spec.needs_scratch:
                lines = [(self.combined(lines), k.const(1, "f32"))]
            with k.loop("x", 0, self.outs[-1]) as x:
                self.pixel(lines, self.taps(len(self.sizes) - 1, x), out.offset(x * self.unit))
            if spec.outside is not None:
                self.blank(coordinates, out)

    def taps(self, axis: int, o: Index) -> Taps:
        """Table entries of output coordinate `o`; a place outside is replaced by one inside."""
        k, size = self.k, self.outs[axis]
        result: Taps = []
        for t in range(self.spec.taps[axis]):
            place = k.index(self.indices[axis].load(at=size * t + o))
            weight = self.weights[axis].load(at=size * t + o) if self.spec.weighted else k.const(1, "f32")
            result.append((place if self.spec.outside is None else k.index_max(place, 0), weight))
        return result

    def lines(self, base: Index, coordinates: Sequence[Index]) -> list[tuple[Pointer, Vec]]:
        """The input rows an output row is made of, with their weights."""
        k = self.k
        result = []
        for combination in itertools.product(*(self.taps(a, o) for a, o in enumerate(coordinates))):
            line: Index = 0
            weight = k.const(1, "f32")
            for i, (place, w) in enumerate(combination):
                line = line * self.sizes[i] + place
                weight = w if i == 0 else weight * w
            result.append((self.source.offset((base + line * self.sizes[-1]) * self.unit), weight))
        return result

    def combined(self, lines: Sequence[tuple[Pointer, Vec]]) -> Pointer:
        """The weighted sum of whole input rows, in scratch: this part is contiguous, so it runs in vectors."""
        k = self.k

        def body(x: Index, width: int) -> None:
            total: Vec | None = None
            for line, weight in lines:
                total = self.add(total, load_value(line, width, x), weight)
            assert total is not None
            k.scratch.store(total, at=x)

        spans(k, 0, self.sizes[-1], self.lanes, body)
        return k.scratch

    def pixel(self, lines: Sequence[tuple[Pointer, Vec]], taps: Taps, out: Pointer) -> None:
        """One output pixel: `unit` elements."""
        k = self.k
        if not self.spec.weighted:
            copy_span(k, lines[0][0].offset(taps[0][0] * self.unit), out, 0, self.unit)
            return

        def body(u: Index, width: int) -> None:
            total: Vec | None = None
            for line, weight in lines:
                row: Vec | None = None
                for place, w in taps:
                    row = self.add(row, load_value(line, width, place * self.unit + u), w)
                assert row is not None
                total = row if len(lines) == 1 else self.add(total, row, weight)
            assert total is not None
            store_value(out, total, at=u)

        spans(k, 0, self.unit, 16 if self.spec.unit == 16 else self.lanes, body)

    def add(self, total: Vec | None, x: Vec, weight: Vec) -> Vec:
        weight = self.k.broadcast(weight, x.lanes)
        return x * weight if total is None else self.k.fma(x, weight, total)

    def blank(self, coordinates: Sequence[Index], out: Pointer) -> None:
        """Writes the outside value over every pixel with a coordinate outside."""
        k = self.k
        assert self.spec.outside is not None
        value = k.const(self.spec.outside, compute_dtype(self.spec.dtype))
        rows = [self.indices[a].load(at=o).compare("<", 0) for a, o in enumerate(coordinates)]
        with k.loop("x", 0, self.outs[-1]) as x:
            missing = self.indices[-1].load(at=x).compare("<", 0)
            for row in rows:
                missing = missing | row
            with k.when(missing), k.loop("u", 0, self.unit) as u:
                store_value(out, value, at=x * self.unit + u)


def _count(taps: Sequence[int]) -> int:
    total = 1
    for t in taps:
        total *= t
    return total
