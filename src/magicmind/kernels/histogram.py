"""Histograms of rows, with bins that are given."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen import math as vm
from magicmind.codegen.builder import Index, Kernel, Size
from magicmind.codegen.loops import for_rows, vector_loop
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import Vec
from magicmind.kernels.reduce import GRAIN
from magicmind.kernels.spec import count_params

SPARE = BLOCK
"""Bins after those of a row, whose numbers mean nothing: one per lane, or runs of zeros would wait for each other."""


@dataclass(frozen=True)
class RowHistogram:
    """counts[r, half + floor(x[:, r, :] * inverse[r])] += 1; what lies outside is in the first or the last bin.

    Zeros are not counted. Pointers: x [outer, rows, length] f32, finite; inverse [rows] f32, one over the width of a
    row's bins; counts [rows, 2 * half + SPARE] i64.
    """

    half: int
    outer: Size
    rows: Size
    length: Size

    @property
    def name(self) -> str:
        return f"histogram_{2 * self.half}_{self.outer}x{self.rows}x{self.length}"

    @property
    def bins(self) -> int:
        """Numbers of a row of counts."""
        return 2 * self.half + SPARE

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, ("f32", "f32", "i64"), count_params(self))
        x, inverse, counts = k.pointers
        outer, rows, length = k.size(self.outer), k.size(self.rows), k.size(self.length)

        def body(row: Index, _: Index, __: Index) -> None:
            scale, bins = inverse.load(1, row), counts.offset(row * self.bins)
            with k.loop("outer", 0, outer) as i:
                values = x.offset((i * rows + row) * length)

                def vectors(at: Index, lanes: int, mask: Vec | None) -> None:
                    bin_ = self._bins(k, values.load(lanes, at, mask), k.broadcast(scale, lanes))
                    for lane in k.unroll("lane", lanes):
                        one = bins.offset(k.index(bin_ if lanes == 1 else k.lane(bin_, lane)))
                        one.store(one.load() + 1)

                vector_loop(k, "i", 0, length, vectors)

        for_rows(k, rows, outer * length, GRAIN, body, whole=True)
        return k

    def _bins(self, k: Kernel, x: Vec, inverse: Vec) -> Vec:
        """The number of each element's bin. Lanes beyond the row hold zeros."""
        at = k.min(k.max(vm.floor(x * inverse), float(-self.half)), float(self.half - 1))
        spare = k.iota(x.lanes, "i32") if x.lanes > 1 else k.const(0, "i32")
        return k.select(x.compare("==", 0.0), spare + 2 * self.half, k.convert(at, "i32") + self.half)
