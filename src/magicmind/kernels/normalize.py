"""Normalisations with statistics from the data: of a layer, an instance, groups, along an axis, across channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from magicmind.codegen import math as vm
from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.loops import VectorBody, default_unroll, for_rows, vector_loop
from magicmind.codegen.target import Target
from magicmind.codegen.values import Vec
from magicmind.kernels.along_axis import for_columns
from magicmind.kernels.reduce import Monoid, reduce_row
from magicmind.kernels.scalar import compute_dtype, load_value, store_value
from magicmind.kernels.spec import count_params

GRAIN = 8192
"""Elements that are worth waking another thread for."""
SUM = Monoid("sum")


@dataclass(frozen=True)
class Normalize:
    """out = (x - mean) / sqrt(variance + epsilon) * scale + bias over rows of [rows, channels, spatial].

    Statistics are over channels x spatial, in two passes. Scale and bias are [period, channels]: row r takes entry
    r % period. Layer: period 1, spatial 1. Instance: period C, channels 1. Group: period = groups. `centred` False
    leaves the mean out (RMS normalisation). Pointers: x, scale, bias if `has_bias`, out, then (`statistics`) mean and
    inverse deviation, f32 [rows]. out may be x. `parameters`: the type of scale and bias where it is not that of x.
    """

    dtype: str
    rows: Size
    period: Size
    channels: Size
    spatial: Size
    epsilon: float
    has_bias: bool = True
    centred: bool = True
    statistics: bool = False
    parameters: str = ""

    @property
    def name(self) -> str:
        return f"normalize_{self.dtype}_{self.rows}x{self.channels}x{self.spatial}"

    def build(self, target: Target, symbol: str) -> Kernel:
        affine = [self.parameters or self.dtype] * (2 if self.has_bias else 1)
        pointers = [self.dtype, *affine, self.dtype, *(["f32"] * (2 if self.statistics else 0))]
        k = Kernel(symbol, target, pointers, count_params(self))
        x, scale, *rest = k.pointers
        bias = rest.pop(0) if self.has_bias else None
        channels, spatial = k.size(self.channels), k.size(self.spatial)
        length = channels * spatial

        def body(row: Index, first: Index, last: Index) -> None:
            source, out = x.offset(row * length), rest[0].offset(row * length)
            mean, inverse = self._moments(k, source, length)
            if self.statistics:
                rest[1].store(k.convert(mean, "f32"), row)
                rest[2].store(k.convert(inverse, "f32"), row)
            entry = (row % k.size(self.period)) * channels
            at = [None if p is None else p.offset(entry) for p in (scale, bias)]
            assert at[0] is not None
            self._apply(k, source, out, mean, inverse, at[0], at[1], channels, spatial)

        for_rows(k, k.size(self.rows), length, GRAIN, body, whole=True)
        return k

    def _moments(self, k: Kernel, x: Pointer, length: Index) -> tuple[Vec, Vec]:
        """Mean and 1 / sqrt(variance + epsilon)."""
        dtype = compute_dtype(self.dtype)
        count = k.number(length, dtype)
        mean = reduce_row(k, x, length, SUM) / count if self.centred else k.const(0, dtype)

        def squared(v: Vec) -> Vec:
            difference = v - k.broadcast(mean, v.lanes)
            return difference * difference

        variance = reduce_row(k, x, length, SUM, squared) / count
        return mean, 1.0 / vm.sqrt(variance + self.epsilon)

    def _apply(
        self, k: Kernel, x: Pointer, out: Pointer, mean: Vec, inverse: Vec, scale: Pointer, bias: Pointer | None,
        channels: Index, spatial: Index,
    ) -> None:  # fmt: skip
        def normal(v: Vec) -> Vec:
            return (v - k.broadcast(mean, v.lanes)) * k.broadcast(inverse, v.lanes)

        if self.spatial == 1:

            def across(i: Index, lanes: int, mask: Vec | None) -> None:
                value = normal(load_value(x, lanes, i, mask)) * load_value(scale, lanes, i, mask)
                if bias is not None:
                    value = value + load_value(bias, lanes, i, mask)
                store_value(out, value, i, mask)

            vector_loop(k, "i", 0, channels, across, unroll=default_unroll(k))
            return
        with k.loop("channel", 0, channels) as c:
            factor = load_value(scale, 1, c)
            term = None if bias is None else load_value(bias, 1, c)
            base = c * spatial

            def along(i: Index, lanes: int, mask: Vec | None) -> None:
                value = normal(load_value(x, lanes, base + i, mask)) * k.broadcast(factor, lanes)
                store_value(out, value if term is None else value + k.broadcast(term, lanes), base + i, mask)

            vector_loop(k, "i", 0, spatial, along, unroll=default_unroll(k))


@dataclass(frozen=True)
class LpNormalize:
    """out = x / norm along the axis of [outer, axis, inner], norm the sum of |x| (p = 1) or the root of that of x^2.

    A row of zeros stays zero. With a `floor` the norm is at least that, and 0 / 0 is NaN. Pointers: x, out; out may be
    x.
    """

    p: int
    dtype: str
    outer: Size
    axis: Size
    inner: Size
    floor: float | None = None

    @property
    def name(self) -> str:
        return f"lp{self.p}_normalize_{self.dtype}_{self.outer}x{self.axis}x{self.inner}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype), count_params(self))
        axis, inner = k.size(self.axis), k.size(self.inner)
        if self.inner == 1:
            for_rows(k, k.size(self.outer), axis, GRAIN, self._row_body(k, axis), whole=True)
        else:
            for_columns(k, k.size(self.outer), axis, inner, GRAIN, lambda row: self._column_body(k, row, axis, inner))
        return k

    def _power(self, v: Vec) -> Vec:
        return vm.absolute(v) if self.p == 1 else v * v

    def _norm(self, total: Vec) -> Vec:
        """The divisor: 1 in place of 0, or at least the floor."""
        norm = total if self.p == 1 else vm.sqrt(total)
        if self.floor is not None:
            return norm.k.max(norm, self.floor) if self.floor else norm
        return norm.k.select(norm.compare("==", 0), norm.k.const(1, norm.dtype, norm.lanes), norm)

    def _row_body(self, k: Kernel, axis: Index) -> Callable[[Index, Index, Index], None]:
        def body(row: Index, first: Index, last: Index) -> None:
            x, out = (p.offset(row * axis) for p in k.pointers)
            norm = self._norm(reduce_row(k, x, axis, SUM, self._power))

            def divide(i: Index, lanes: int, mask: Vec | None) -> None:
                store_value(out, load_value(x, lanes, i, mask) / k.broadcast(norm, lanes), i, mask)

            vector_loop(k, "i", 0, axis, divide)

        return body

    def _column_body(self, k: Kernel, row: Index, axis: Index, inner: Index) -> VectorBody:
        dtype = compute_dtype(self.dtype)
        x, out = (p.offset(row * axis * inner) for p in k.pointers)

        def vectors(i: Index, lanes: int, mask: Vec | None) -> None:
            total = k.tile("total", 1, dtype=dtype, lanes=lanes)
            total.fill(k.const(0, dtype, lanes))
            with k.loop("r", 0, axis) as r:
                total[0,] = total[0,] + self._power(load_value(x.offset(r * inner), lanes, i, mask))
            norm = self._norm(total[0,])
            with k.loop("r", 0, axis) as r:
                at = r * inner
                store_value(out.offset(at), load_value(x.offset(at), lanes, i, mask) / norm, i, mask)

        return vectors


@dataclass(frozen=True)
class ChannelWindow:
    """LRN: out[n, c] = x[n, c] / (bias + alpha / size * sum of x[n, c']^2 over `size` channels around c)^beta.

    Pointers: x, out, both [batch, channels, spatial]; out may not be x.
    """

    size: int
    alpha: float
    beta: float
    bias: float
    dtype: str
    batch: Size
    channels: Size
    spatial: Size

    @property
    def name(self) -> str:
        return f"lrn{self.size}_{self.dtype}_{self.batch}x{self.channels}x{self.spatial}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype), count_params(self))
        channels, spatial = k.size(self.channels), k.size(self.spatial)
        dtype = compute_dtype(self.dtype)

        def body(row: Index, first: Index, last: Index) -> None:
            c = row % channels
            image = k.pointers[0].offset((row - c) * spatial)
            out = k.pointers[1].offset(row * spatial)
            low = k.index_max(c - (self.size - 1) // 2, 0)
            high = k.index_min(c + (self.size // 2 + 1), channels)

            def vectors(i: Index, lanes: int, mask: Vec | None) -> None:
                total = k.tile("total", 1, dtype=dtype, lanes=lanes)
                total.fill(k.const(0, dtype, lanes))
                with k.loop("window", low, high) as w:
                    v = load_value(image.offset(w * spatial), lanes, i, mask)
                    total[0,] = total[0,] + v * v
                base = total[0,] * (self.alpha / self.size) + self.bias
                value = load_value(image.offset(c * spatial), lanes, i, mask)
                store_value(out, value * self._inverse_power(base), i, mask)

            vector_loop(k, "i", first, last, vectors)

        for_rows(k, k.size(self.batch) * channels, spatial, GRAIN, body)
        return k

    def _inverse_power(self, base: Vec) -> Vec:
        """base^-beta; 3/4, what networks use, by square roots."""
        if self.beta == 0.75:
            root = vm.sqrt(base)
            return 1.0 / (root * vm.sqrt(root))
        return vm.power(base, base.k.const(-self.beta, base.dtype, base.lanes))
