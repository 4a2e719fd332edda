"""The weights of a Winograd convolution, made of the 3x3 ones at load, which are 1.8 to 4 times smaller."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Vec
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE
from magicmind.kernels.conv.winograd import transform, weight_matrix
from magicmind.kernels.scalar import load_value
from magicmind.kernels.work import share

_TAPS = 9


@dataclass(frozen=True)
class WinogradWeights:
    """u = G w G^T for every pair of channels, in float32; of int8 4 G w G^T, in int16.

    Pointers: w of `dtype`, [chunk][ic block][3][3][16 ic][nr * 16 oc] (`pack_direct`), and u
    [position][chunk][ic][nr * 16 oc], for F(m x m, 3 x 3); the last chunk may be shorter. How a block of channels
    lies (`kr`) is kept.
    """

    m: int
    nr: int
    ic_blocks: int
    oc_blocks: int
    dtype: str

    @property
    def name(self) -> str:
        return f"{self.dtype}_winograd{self.m}_weights_{self.ic_blocks * BLOCK}x{self.oc_blocks * BLOCK}"

    @property
    def positions(self) -> int:
        return (self.m + 2) ** 2

    @property
    def numbers(self) -> str:
        """The type of the result."""
        return "i16" if self.dtype == "i8" else "f32"

    @property
    def bytes(self) -> int:
        """Of the result."""
        return self.positions * self.ic_blocks * self.oc_blocks * BLOCK * BLOCK * ITEMSIZE[self.numbers]

    @property
    def flops(self) -> int:
        """Multiplications and additions, roughly."""
        return self.positions * self.ic_blocks * self.oc_blocks * BLOCK * BLOCK * 6

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype, self.numbers))
        full, tail = divmod(self.oc_blocks, self.nr)
        chunks = full + (1 if tail else 0)
        first, last = share(k, chunks * self.ic_blocks, self.positions * BLOCK * self.nr)
        with k.loop("item", first, last) as item:
            chunk, icb = item // self.ic_blocks, item % self.ic_blocks
            for nr, condition in ((self.nr, k.less(chunk, full)), (tail, k.less(full - 1, chunk))):
                if nr:
                    with k.when(condition):
                        self._block(k, chunk, icb, nr)
        return k

    def _block(self, k: Kernel, chunk: Index, icb: Index, nr: int) -> None:
        """One block of input channels, `nr` of output channels."""
        w, u = k.pointers
        depth = self.ic_blocks * BLOCK
        of_chunk = self.nr * BLOCK * depth
        source = w.offset(chunk * (of_chunk * _TAPS) + icb * (_TAPS * BLOCK * nr * BLOCK))
        target = u.offset(chunk * of_chunk + icb * (BLOCK * nr * BLOCK))
        for row in range(self.m + 2):
            with k.loop("vector", 0, BLOCK * nr) as vector:
                self._row(k, row, source.offset(vector * BLOCK), target.offset(vector * BLOCK), nr)

    def _row(self, k: Kernel, row: int, source: Pointer, target: Pointer, nr: int) -> None:
        """One row of positions: few enough places to write to, however far apart, to stay in cache together."""
        matrix = weight_matrix(self.m, self.numbers)
        taps = [[self._tap(k, source.offset((3 * r + c) * (BLOCK * nr * BLOCK))) for r in range(3)] for c in range(3)]
        columns = [transform(k, matrix[row : row + 1], column)[0] for column in taps]
        per_position = self.ic_blocks * self.oc_blocks * BLOCK * BLOCK
        for i, value in enumerate(transform(k, matrix, columns)):
            target.store(value, (row * (self.m + 2) + i) * per_position)

    def _tap(self, k: Kernel, source: Pointer) -> Vec:
        return k.convert(load_value(source, BLOCK), self.numbers)
