"""Softmax, LogSoftmax and Hardmax along one axis of [outer, axis, inner]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from magicmind.codegen import math as vm
from magicmind.codegen.builder import Index, Kernel, Pointer, Size
from magicmind.codegen.loops import VectorBody, for_rows, vector_loop
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import Vec
from magicmind.kernels.along_axis import for_columns
from magicmind.kernels.arg_reduce import ArgReduce
from magicmind.kernels.reduce import Monoid, extreme, reduce_row
from magicmind.kernels.scalar import compute_dtype, load_value, store_value
from magicmind.kernels.spec import count_params

GRAIN = 4096
"""Elements that are worth waking another thread for."""
MAX, SUM = Monoid("max"), Monoid("sum")


@dataclass(frozen=True)
class Softmax:
    """out = exp(x - max) / sum(exp(x - max)) along the axis, its logarithm (`log`), or one at the maximum (`hard`).

    Pointers: x, out, both [outer, axis, inner] of a float dtype; out may be x. op: softmax, log or hard. A NaN spreads
    over its row. Hardmax takes the first of equals.
    """

    op: str
    dtype: str
    outer: Size
    axis: Size
    inner: Size

    @property
    def name(self) -> str:
        return f"softmax_{self.op}_{self.dtype}_{self.outer}x{self.axis}x{self.inner}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype), count_params(self))
        if self.inner != 1:
            self._columns(k)
        elif isinstance(self.axis, int) and 1 <= self.axis <= BLOCK and self.op != "hard":
            _ShortRows(self, k).emit()
        else:
            self._rows(k)
        return k

    def _rows(self, k: Kernel) -> None:
        length = k.size(self.axis)

        def body(row: Index, first: Index, last: Index) -> None:
            x, out = (p.offset(row * length) for p in k.pointers)
            if self.op == "hard":
                _one_hot(k, self._arg_max.row_position(k, x, length), out, length)
            else:
                self._row(k, x, out, length)

        for_rows(k, k.size(self.outer), length, GRAIN, body, whole=True)

    def _row(self, k: Kernel, x: Pointer, out: Pointer, length: Index) -> None:
        top = reduce_row(k, x, length, MAX)

        def shifted(v: Vec) -> Vec:
            return v - k.broadcast(top, v.lanes)

        if self.op == "softmax" and self.dtype != "f16":
            # The exponentials wait in the output; float16 would round them.
            _map(k, x, out, length, lambda v: vm.exp(shifted(v)))
            scale = 1.0 / reduce_row(k, out, length, SUM)
            _map(k, out, out, length, lambda v: v * k.broadcast(scale, v.lanes))
            return
        total = reduce_row(k, x, length, SUM, lambda v: vm.exp(shifted(v)))
        self._map_finished(k, x, out, length, shifted, total)

    def _map_finished(
        self, k: Kernel, x: Pointer, out: Pointer, length: Index, shifted: Callable[[Vec], Vec], total: Vec
    ) -> None:
        factor = vm.log(total) if self.op == "log" else 1.0 / total

        def finish(v: Vec) -> Vec:
            other = k.broadcast(factor, v.lanes)
            return shifted(v) - other if self.op == "log" else vm.exp(shifted(v)) * other

        _map(k, x, out, length, finish)

    def _columns(self, k: Kernel) -> None:
        axis, inner = k.size(self.axis), k.size(self.inner)

        def columns_of(row: Index) -> VectorBody:
            x, out = (p.offset(row * axis * inner) for p in k.pointers)

            def vectors(i: Index, lanes: int, mask: Vec | None) -> None:
                _Column(self, k, x.offset(i), out.offset(i), axis, inner, lanes, mask).emit()

            return vectors

        for_columns(k, k.size(self.outer), axis, inner, GRAIN, columns_of)

    @property
    def _arg_max(self) -> ArgReduce:
        return ArgReduce(True, False, self.dtype, self.outer, self.axis, self.inner)


def _map(k: Kernel, x: Pointer, out: Pointer, length: Index, function: Callable[[Vec], Vec]) -> None:
    """out[i] = function(x[i])."""

    def body(i: Index, lanes: int, mask: Vec | None) -> None:
        store_value(out, function(load_value(x, lanes, i, mask)), i, mask)

    vector_loop(k, "i", 0, length, body)


def _one_hot(k: Kernel, position: Vec, out: Pointer, length: Index) -> None:
    dtype = compute_dtype(out.dtype)

    def body(i: Index, lanes: int, mask: Vec | None) -> None:
        at = k.broadcast(k.number(i, "i32"), lanes)
        if lanes > 1:
            at = at + k.iota(lanes, "i32")
        hit = at.compare("==", k.broadcast(position, lanes))
        store_value(out, k.select(hit, k.const(1, dtype, lanes), 0), i, mask)

    vector_loop(k, "i", 0, length, body)


@dataclass(frozen=True)
class _Column:
    """The whole axis for one vector of inner positions."""

    spec: Softmax
    k: Kernel
    x: Pointer
    out: Pointer
    axis: Index
    stride: Index
    lanes: int
    mask: Vec | None

    def load(self, p: Pointer, r: Index) -> Vec:
        return load_value(p.offset(r * self.stride), self.lanes, mask=self.mask)

    def store(self, value: Vec, r: Index) -> None:
        store_value(self.out.offset(r * self.stride), value, mask=self.mask)

    def join(self, monoid: Monoid, element: Callable[[Index], Vec]) -> Vec:
        """Joins element(r) over the axis."""
        k, dtype = self.k, compute_dtype(self.spec.dtype)
        acc = k.tile("acc", 1, dtype=dtype, lanes=self.lanes)
        acc.fill(k.const(monoid.neutral(dtype), dtype, self.lanes))
        with k.loop("r", 0, self.axis) as r:
            acc[0,] = monoid.join(acc[0,], element(r))
        return acc[0,]

    def emit(self) -> None:
        if self.spec.op == "hard":
            self.one_hot()
            return
        top = self.join(MAX, lambda r: self.load(self.x, r))
        keep = self.spec.op == "softmax" and self.spec.dtype != "f16"

        def exponential(r: Index) -> Vec:
            e = vm.exp(self.load(self.x, r) - top)
            if keep:
                self.store(e, r)
            return e

        total = self.join(SUM, exponential)
        factor = vm.log(total) if self.spec.op == "log" else 1.0 / total
        with self.k.loop("r", 0, self.axis) as r:
            if keep:
                self.store(self.load(self.out, r) * factor, r)
            else:
                v = self.load(self.x, r) - top
                self.store(v - factor if self.spec.op == "log" else vm.exp(v) * factor, r)

    def one_hot(self) -> None:
        k, dtype = self.k, compute_dtype(self.spec.dtype)
        position = self.spec._arg_max.column_position(k, self.x, self.axis, self.stride, self.lanes, self.mask)
        with k.loop("r", 0, self.axis) as r:
            hit = position.compare("==", k.broadcast(k.number(r, "i32"), self.lanes))
            self.store(k.select(hit, k.const(1, dtype, self.lanes), 0), r)


class _ShortRows:
    """Rows of a constant length up to 16, as detectors have them: several in one vector where the length divides 16.

    A row lies in a power of two of lanes; maximum and sum are found by exchanges between lanes at distances 1, 2, 4, 8.
    """

    def __init__(self, spec: Softmax, k: Kernel) -> None:
        assert isinstance(spec.axis, int)
        self.spec, self.k, self.length = spec, k, spec.axis
        self.width = 1 << (self.length - 1).bit_length()
        self.dtype = compute_dtype(spec.dtype)

    def emit(self) -> None:
        group = BLOCK // self.length if BLOCK % self.length == 0 else 1

        def body(_: Index, first: Index, last: Index) -> None:
            whole = first + (last - first) // group * group
            for count, start, stop in ((group, first, whole), (1, whole, last)):
                if not (isinstance(start, int) and isinstance(stop, int) and start >= stop):
                    with self.k.loop(f"rows x{count}", start, stop, count) as r:
                        self.rows(r, count)

        for_rows(self.k, 1, self.k.size(self.spec.outer), max(1, GRAIN // self.length), body)

    def rows(self, row: Index, count: int) -> None:
        k, length = self.k, self.length
        lanes, at = count * length, row * length
        x = self.padded(load_value(k.pointers[0], lanes, at), extreme(self.dtype, False))
        v = x - self.exchange(MAX, x)
        e = vm.exp(v)
        total = self.exchange(SUM, e)
        result = v - vm.log(total) if self.spec.op == "log" else e / total
        store_value(k.pointers[1], result if result.lanes == lanes else k.shuffle(result, result, range(lanes)), at)

    def padded(self, x: Vec, filler: float) -> Vec:
        """A single row filled up to a power of two of lanes; the filler's exponential is zero."""
        if x.lanes % self.width == 0:
            return x
        fill = self.k.const(filler, x.dtype, x.lanes)
        return self.k.shuffle(x, fill, range(self.width))

    def exchange(self, monoid: Monoid, x: Vec) -> Vec:
        """Every lane gets the joined elements of its row."""
        distance = 1
        while distance < self.width:
            x = monoid.join(x, self.k.shuffle(x, x, _swapped(x.lanes, distance)))
            distance *= 2
        return x


def _swapped(lanes: int, distance: int) -> Sequence[int]:
    return [i ^ distance for i in range(lanes)]
