"""Matrix products in the arithmetic of their dtype: integers that wrap, float64. Nothing is packed or reordered."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Size
from magicmind.codegen.loops import for_rows, vector_loop
from magicmind.codegen.target import Target
from magicmind.codegen.values import Vec
from magicmind.kernels.spec import count_params

_GRAIN = 1 << 15  # multiplications that are worth waking another thread for


@dataclass(frozen=True)
class ExactMatMul:
    """out[b] = x[b] @ y[b].

    Pointers: x [batch, m, k], y [batch, k, n], out [batch, m, n], all `dtype`; an operand that is not batched has one
    matrix for all.
    """

    dtype: str
    batch: Size
    m: Size
    n: Size
    k: Size
    x_batched: bool
    y_batched: bool

    @property
    def name(self) -> str:
        return f"exact_matmul_{self.dtype}_{self.batch}x{self.m}x{self.n}x{self.k}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype,) * 3, count_params(self))
        batch, m, n, depth = (k.size(s) for s in (self.batch, self.m, self.n, self.k))
        x, y, out = k.pointers

        def body(row: Index, first: Index, last: Index) -> None:
            left = x.offset((row if self.x_batched else row % m) * depth)
            right = y.offset((row // m) * depth * n) if self.y_batched else y

            def vectors(i: Index, lanes: int, mask: Vec | None) -> None:
                acc = k.tile("acc", 1, dtype=self.dtype, lanes=lanes)
                acc.fill(k.const(0, self.dtype, lanes))
                with k.loop("k", 0, depth) as d:
                    acc[0,] = acc[0,] + k.broadcast(left.load(at=d), lanes) * right.load(lanes, d * n + i, mask)
                out.store(acc[0,], row * n + i, mask)

            vector_loop(k, "column", first, last, vectors)

        grain = k.ceildiv(_GRAIN, k.index_max(depth, 1))
        for_rows(k, batch * m, n, grain, body)
        return k
