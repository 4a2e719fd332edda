"""The inner product micro-kernel every convolution and matrix product ends in.

acc[p, j] += sum over k of a[offset(p) + k] * b[k, j]: `rows` scalars of `a` are broadcast against `nr` vectors of
packed weights. With 16-lane vectors a 14 x 2 tile keeps 28 accumulators, 2 weight vectors and one broadcast in 31 of 32
registers and ran at 98 % of the FMA peak (3 GHz Sapphire Rapids class core: 190 of 192 GFLOP/s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Tile
from magicmind.codegen.target import BLOCK, Target


def register_tiles(target: Target) -> list[tuple[int, int]]:
    """(rows, weight blocks) of every tile shape that fits the registers, best first where all else is equal."""
    if target.lanes == BLOCK:
        return [(14, 2), (9, 3), (6, 4), (5, 5), (4, 6), (28, 1)]
    # A block takes 16/lanes registers. With half of the registers for accumulators, weights and a broadcast fit too.
    per_block = target.registers_per_block
    rows = max(1, (target.vregs - per_block - 1) // per_block)
    return [(min(rows, 6), 1)]


_UNROLL = 4
"""Steps written out: enough to hide the loop's own instructions, few enough to compile fast."""


@dataclass(frozen=True)
class Ahead:
    """Weights to ask for while these are multiplied: `lines` cache lines per call, `distance` elements after `b`."""

    distance: Index
    lines: int


def share_lines(nr: int, tiles: int) -> int:
    """Cache lines each of `tiles` register tiles has to ask for so that together they fetch one block of 16 rows."""
    return -(-BLOCK * nr // max(tiles, 1))


def multiply_accumulate(
    k: Kernel,
    acc: Tile,
    a: Pointer,
    offsets: Sequence[Index],
    stride: Index,
    b: Pointer,
    depth: int,
    nr: int,
    ahead: Ahead | None = None,
) -> None:
    """`depth` unrolled steps: acc[p, j] += a[offsets[p] + c * stride] * b[c, j] for c in 0..depth."""
    columns = [a.offset(offset) for offset in offsets]
    if ahead is not None:
        for line in range(ahead.lines):
            k.prefetch(b.offset(ahead.distance).offset(line * BLOCK))
    unroll = _UNROLL if depth % _UNROLL == 0 else depth
    with k.loop("k", 0, depth if unroll == depth else k.opaque(depth), unroll) as first:
        for i in k.unroll("k", unroll):
            c = first + i
            weights = [b.load(BLOCK, (c * nr + j) * BLOCK) for j in range(nr)]
            for p, column in enumerate(columns):
                value = k.broadcast(column.load(1, stride * c), BLOCK)
                for j in range(nr):
                    acc[p, j] = k.fma(value, weights[j], acc[p, j])
