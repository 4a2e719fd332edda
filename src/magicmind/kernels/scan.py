"""Running sums and products along one axis."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Size
from magicmind.codegen.loops import VectorBody
from magicmind.codegen.target import Target
from magicmind.codegen.values import Vec
from magicmind.kernels.along_axis import for_columns
from magicmind.kernels.reduce import GRAIN, Monoid
from magicmind.kernels.scalar import compute_dtype, load_value, store_value
from magicmind.kernels.spec import count_params


@dataclass(frozen=True)
class Scan:
    """out[o, j, i] = x[o, 0, i] joined with ... x[o, j, i].

    `exclusive` leaves out the last one, `reverse` runs from the end.

    Pointers: x, out [outer, axis, inner] of `dtype`. kind: sum or prod.
    """

    kind: str
    exclusive: bool
    reverse: bool
    dtype: str
    outer: Size
    axis: Size
    inner: Size

    @property
    def name(self) -> str:
        return f"scan_{self.kind}_{self.dtype}_{self.outer}x{self.axis}x{self.inner}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype), count_params(self))
        axis, inner = k.size(self.axis), k.size(self.inner)
        monoid, dtype = Monoid(self.kind), compute_dtype(self.dtype)

        def columns_of(row: Index) -> VectorBody:
            x, out = (p.offset(row * axis * inner) for p in k.pointers)

            def vectors(i: Index, lanes: int, mask: Vec | None) -> None:
                total = k.tile("total", 1, dtype=dtype, lanes=lanes)
                total.fill(k.const(monoid.neutral(dtype), dtype, lanes))
                with k.loop("j", 0, axis) as step:
                    at = (axis - 1 - step if self.reverse else step) * inner + i
                    before = total[0,]
                    total[0,] = monoid.join(before, load_value(x, lanes, at, mask))
                    store_value(out, before if self.exclusive else total[0,], at, mask)

            return vectors

        for_columns(k, k.size(self.outer), axis, inner, GRAIN, columns_of)
        return k
