"""Positions of the largest or smallest element along one axis."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Tile
from magicmind.codegen.loops import VectorBody, for_rows, vector_loop
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import Vec
from magicmind.kernels.along_axis import for_columns
from magicmind.kernels.reduce import GRAIN, extreme
from magicmind.kernels.scalar import compute_dtype, load_value
from magicmind.kernels.spec import count_params


@dataclass(frozen=True)
class ArgReduce:
    """out[o, i] = position of the extreme of x[o, :, i]; the first of equals, or the `last`.

    Pointers: x [outer, axis, inner] of `dtype`, out [outer, inner] of i64. A NaN is larger, and smaller, than all
    numbers. Positions are kept in 32 bits: the axis is shorter than 2^31.
    """

    largest: bool
    last: bool
    dtype: str
    outer: Size
    axis: Size
    inner: Size

    @property
    def name(self) -> str:
        return f"arg{'max' if self.largest else 'min'}_{self.dtype}_{self.outer}x{self.axis}x{self.inner}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, "i64"), count_params(self))
        if self.inner == 1:
            self._rows(k)
        else:
            self._columns(k)
        return k

    def _columns(self, k: Kernel) -> None:
        axis, inner = k.size(self.axis), k.size(self.inner)

        def columns_of(row: Index) -> VectorBody:
            x, out = k.pointers[0].offset(row * axis * inner), k.pointers[1].offset(row * inner)

            def vectors(i: Index, lanes: int, mask: Vec | None) -> None:
                position = self.column_position(k, x.offset(i), axis, inner, lanes, mask)
                out.store(k.convert(position, "i64"), i, mask)

            return vectors

        for_columns(k, k.size(self.outer), axis, inner, GRAIN, columns_of)

    def column_position(self, k: Kernel, x: Pointer, axis: Index, stride: Index, lanes: int, mask: Vec | None) -> Vec:
        """i32 positions of the best of x[0], x[stride], ..., one per lane."""
        best = _Best(self, k, lanes)
        with k.loop("r", 0, axis) as r:
            best.offer(load_value(x.offset(r * stride), lanes, mask=mask), k.broadcast(k.number(r, "i32"), lanes))
        return best.position

    def _rows(self, k: Kernel) -> None:
        axis = k.size(self.axis)

        def body(row: Index, first: Index, last: Index) -> None:
            position = self.row_position(k, k.pointers[0].offset(row * axis), axis)
            k.pointers[1].store(k.convert(position, "i64"), row)

        for_rows(k, k.size(self.outer), axis, GRAIN, body, whole=True)

    def row_position(self, k: Kernel, x: Pointer, axis: Index) -> Vec:
        """i32 position of the best of a row: every lane finds its own, then the lanes are compared in order."""
        best, rest = _Best(self, k, BLOCK), _Best(self, k, 1)

        def vectors(i: Index, lanes: int, mask: Vec | None) -> None:
            at = k.broadcast(k.number(i, "i32"), lanes)
            if lanes == 1:
                rest.offer(load_value(x, 1, i), at)
            else:
                best.offer(load_value(x, lanes, i, mask), at + k.iota(lanes, "i32"), mask)

        vector_loop(k, "i", 0, axis, vectors, by_register=False)
        value, position = best.value, best.position
        for lane in range(BLOCK):
            rest.merge(k.lane(value, lane), k.lane(position, lane))
        return rest.position


class _Best:
    """The best element met so far and where, per lane."""

    def __init__(self, spec: ArgReduce, k: Kernel, lanes: int) -> None:
        self.spec, self.k = spec, k
        dtype = compute_dtype(spec.dtype)
        self._value: Tile = k.tile("best", 1, dtype=dtype, lanes=lanes)
        self._position: Tile = k.tile("position", 1, dtype="i32", lanes=lanes)
        self._value.fill(k.const(extreme(dtype, not spec.largest), dtype, lanes))
        # None yet; loses every tie.
        self.none = -1 if spec.last else 2**31 - 1
        self._position.fill(k.const(self.none, "i32", lanes))

    @property
    def value(self) -> Vec:
        return self._value[0,]

    @property
    def position(self) -> Vec:
        return self._position[0,]

    def offer(self, x: Vec, at: Vec, mask: Vec | None = None) -> None:
        """Elements that come after all those before."""
        best = self.value
        better = self._beats(x, best) | self.position.compare("==", self.none)
        if self.spec.last:
            better = better | self._ties(x, best)
        self._take(better if mask is None else better & mask, x, at)

    def merge(self, x: Vec, at: Vec) -> None:
        """The best of other elements, in any order."""
        nearer = at.compare(">" if self.spec.last else "<", self.position)
        self._take(self._beats(x, self.value) | (self._ties(x, self.value) & nearer), x, at)

    def _take(self, better: Vec, x: Vec, at: Vec) -> None:
        self._value[0,] = self.k.select(better, x, self.value)
        self._position[0,] = self.k.select(better, at, self.position)

    def _beats(self, x: Vec, best: Vec) -> Vec:
        result = x.compare(">" if self.spec.largest else "<", best)
        return result | (x.compare("!=", x) & best.compare("==", best)) if x.is_float else result

    def _ties(self, x: Vec, best: Vec) -> Vec:
        result = x.compare("==", best)
        return result | (x.compare("!=", x) & best.compare("!=", best)) if x.is_float else result
