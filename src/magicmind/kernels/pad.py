"""Padding: constant, edge, reflect, wrap; negative pads cut off."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen import ir
from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.target import Target
from magicmind.codegen.values import I1
from magicmind.kernels.move import copy_span, fill_span, spans, vector_lanes
from magicmind.kernels.work import params_of, product, ravel, share, unravel


@dataclass(frozen=True)
class Pad:
    """out[o..., u] = in[o - before..., u], and where that is outside, what `mode` says.

    Args: in [sizes..., unit], value [1], out [outs..., unit] of `dtype`. `mode`: constant, edge, reflect, wrap.
    """

    mode: str
    sizes: tuple[Size, ...]
    before: tuple[Size, ...]
    outs: tuple[Size, ...]
    unit: Size = 1
    dtype: str = "f32"

    @property
    def name(self) -> str:
        return f"pad_{self.mode}_{'x'.join(map(str, self.outs))}"

    def build(self, target: Target, symbol: str) -> Kernel:
        params = params_of(*self.sizes, *self.before, *self.outs, self.unit)
        k = Kernel(symbol, target, (self.dtype, self.dtype, self.dtype), params)
        _PadEmitter(k, self).rows()
        return k


class _PadEmitter:
    """Rows along the last axis: left edge, middle, right edge."""

    def __init__(self, k: Kernel, spec: Pad) -> None:
        self.k, self.mode = k, spec.mode
        self.sizes = [k.size(s) for s in spec.sizes]
        self.before = [k.size(s) for s in spec.before]
        self.outs = [k.size(s) for s in spec.outs]
        self.unit = k.size(spec.unit)

    def rows(self) -> None:
        k = self.k
        source, value, target = k.pointers
        *outer, width = self.outs
        cost = width * self.unit // vector_lanes(k, source.dtype) + 1
        first, last = share(k, product(outer), cost)
        with k.loop("row", first, last) as row:
            coordinates = unravel(row, outer)
            inside, places = self.source_row(coordinates)
            line = source.offset(ravel([*places, 0], self.sizes) * self.unit)
            self.row(line, value, target.offset(row * width * self.unit), inside)

    def source_row(self, coordinates: list[Index]) -> tuple[ir.Value, list[Index]]:
        """Whether the row exists in the input (constant mode), and its coordinates there."""
        k = self.k
        inside: ir.Value = ir.Constant(I1, True)
        places: list[Index] = []
        for o, before, size in zip(coordinates, self.before, self.sizes, strict=False):
            x = o - before
            if self.mode == "constant":
                for condition in (k.less(-1, x), k.less(x, size)):
                    bit = ir.Constant(I1, condition) if isinstance(condition, bool) else condition
                    inside = k.b.and_(inside, bit)
                places.append(x)
            else:
                places.append(self.mapped(x, before, size))
        return inside, places

    def row(self, line: Pointer, value: Pointer, target: Pointer, inside: ir.Value) -> None:
        k, unit = self.k, self.unit
        before, size, width = self.before[-1], self.sizes[-1], self.outs[-1]
        low = k.index_min(k.index_max(before, 0), width)
        high = k.index_max(k.index_min(before + size, width), low)
        if self.mode == "constant":
            low, high = (k.index_select(inside, x, width) for x in (low, high))
            fill = value.load()
            fill_span(k, target, fill, 0, low * unit)
            fill_span(k, target, fill, high * unit, width * unit)
        else:
            for begin, end in ((0, low), (high, width)):
                with k.loop("edge", begin, end) as o:
                    place = self.mapped(o - before, before, size)
                    copy_span(k, line.offset(place * unit), target.offset(o * unit), 0, unit)

        def middle(x: Index, lanes: int) -> None:
            target.store(line.load(lanes, at=x - before * unit), at=x)

        spans(k, low * unit, high * unit, vector_lanes(k, target.dtype), middle)

    def mapped(self, x: Index, before: Index, size: Index) -> Index:
        """The input coordinate that stands at `x`, which may lie outside 0..size."""
        k = self.k
        if self.mode == "edge":
            return k.index_min(k.index_max(x, 0), size - 1)
        period = size if self.mode == "wrap" else k.index_max((size - 1) * 2, 1)
        y = (x + k.ceildiv(k.index_max(before, 0), period) * period) % period
        # Reflecting, a period runs up and back down; with one element it is that element.
        return y if self.mode == "wrap" else k.index_min(y, period - y)
