"""Pooling over all pixels of a plane: global average, maximum and Lp."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Size, Tile, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.kernels.pool import Reduction
from magicmind.kernels.scalar import load_value, store_value
from magicmind.kernels.work import params_of, share


@dataclass(frozen=True)
class GlobalPool:
    """out[plane] = reduction of in[plane, all pixels].

    Args: in [planes, pixels, unit], out [planes, unit] of `dtype`; `unit` is 16 (blocked) or 1 (plain).
    Sums run in `_CHAINS` interleaved chains whose order depends on the target alone, never on threads.
    """

    reduction: Reduction
    planes: Size
    pixels: Size
    unit: int
    dtype: str = "f32"

    @property
    def name(self) -> str:
        kind = "" if self.dtype == "f32" else f"{self.dtype}_"
        return f"{kind}global_{self.reduction}pool_{self.pixels}_{'blocked' if self.unit > 1 else 'plain'}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.dtype), params_of(self.planes, self.pixels))
        pixels = k.size(self.pixels)
        lanes = BLOCK if self.unit == BLOCK else target.lanes
        chains = 8 * target.lanes // lanes if lanes > target.lanes else 8
        first, last = share(k, k.size(self.planes), pixels * self.unit // lanes)
        with k.loop("plane", first, last) as plane:
            source = k.pointers[0].offset(plane * pixels * self.unit)
            total = self._plane(k, source, pixels, max(2, chains), lanes)
            result = self.reduction.finish(k, total, pixels, pixels)
            store_value(k.pointers[1], result, at=plane * self.unit)
        return k

    def _plane(self, k: Kernel, source: Pointer, pixels: Index, chains: int, lanes: int) -> Vec:
        """The reduction of one plane: `unit` lanes."""
        compute = self.reduction.compute(self.dtype, pixels)
        acc = k.tile("acc", chains, dtype=compute, lanes=lanes)
        acc.fill(self.reduction.start(k, compute, lanes))
        vectors = pixels * self.unit // lanes
        whole = vectors // chains * chains

        def add(chain: int, at: Index) -> None:
            acc[chain,] = self.reduction.add(k, acc[chain,], k.convert(load_value(source, lanes, at * lanes), compute))

        with k.loop("p", 0, whole, chains) as p:
            for i in k.unroll("chain", chains):
                add(i, p + i)
        with k.loop("rest", whole, vectors) as p:
            add(0, p)
        total = self._tree(k, acc, chains)
        return total if self.unit == lanes else self._across(k, source, total, vectors * lanes, pixels)

    def _tree(self, k: Kernel, acc: Tile, chains: int) -> Vec:
        parts = [acc[i,] for i in range(chains)]
        while len(parts) > 1:
            half = (len(parts) + 1) // 2
            joined = [self.reduction.merge(k, a, b) for a, b in zip(parts, parts[half:], strict=False)]
            parts = joined + parts[len(joined) : half]
        return parts[0]

    def _across(self, k: Kernel, source: Pointer, total: Vec, done: Index, pixels: Index) -> Vec:
        """Joins the lanes and the scalar rest of a plain row."""
        lanes = total.lanes
        while lanes > 2:
            lanes //= 2
            low = k.shuffle(total, total, range(lanes))
            total = self.reduction.merge(k, low, k.shuffle(total, total, range(lanes, 2 * lanes)))
        result = k.tile("total", 1, dtype=total.dtype, lanes=1)
        result[0,] = self.reduction.merge(k, k.lane(total, 0), k.lane(total, 1))
        with k.loop("tail", done, pixels) as p:
            result[0,] = self.reduction.add(k, result[0,], k.convert(load_value(source, 1, p), total.dtype))
        return result[0,]
