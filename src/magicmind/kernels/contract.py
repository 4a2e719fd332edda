"""The inner product micro-kernel every convolution and matrix product ends in.

acc[p, j] += sum over k of a[offset(p) + k] * b[k, j]: `rows` scalars of `a` are broadcast against `nr` vectors of
packed weights. With 16-lane vectors a 14 x 2 tile keeps 28 accumulators, 2 weight vectors and one broadcast in 31 of 32
registers and ran at 98 % of the FMA peak (3 GHz Sapphire Rapids class core: 190 of 192 GFLOP/s).

Bytes take the same tile: a step multiplies `kr` neighbours at once (`codegen/dot.py`), so it needs as many loads and
broadcasts as a float32 step and does `kr` times the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen.builder import Index, Kernel, Pointer, Tile
from magicmind.codegen.dot import dot, dot_format, load_group, load_weights
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import ITEMSIZE, Vec
from magicmind.kernels.scalar import load_value


def register_tiles(target: Target, sums: str = "f32") -> list[tuple[int, int]]:
    """(rows, weight blocks) of every tile shape that fits the registers, best first where all else is equal.

    Bytes (`sums` of i32) take the same ones: the product on its way to an accumulator, where the CPU has no single
    instruction, has the one register that is left. Sums of i64 take half of the registers, their products the rest.
    """
    if sums == "i64":
        return [(max(1, target.vregs // (4 * target.registers_per_block)), 1)]
    if target.lanes == BLOCK:
        return [(14, 2), (9, 3), (6, 4), (5, 5), (4, 6), (28, 1)]
    # A block takes 16/lanes registers. With half of the registers for accumulators, weights and a broadcast fit too.
    per_block = target.registers_per_block
    rows = max(1, (target.vregs - per_block - 1) // per_block)
    return [(min(rows, 6), 1)]


def weight_group(target: Target, weights: str) -> int:
    """Neighbouring weights of one output (`kr`) that a step multiplies at once."""
    return dot_format(target).kr if weights == "i8" else 1


def whole_steps(target: Target, weights: str, depth: int) -> int:
    """`depth` rounded up to whole steps."""
    kr = weight_group(target, weights)
    return -(-depth // kr) * kr


_UNROLL = 4
"""Steps written out: enough to hide the loop's own instructions, few enough to compile fast."""
_LINE = 64


@dataclass(frozen=True)
class Ahead:
    """Weights to ask for while these are multiplied: `lines` cache lines per call, `distance` elements after `b`."""

    distance: Index
    lines: int


def line_elements(dtype: str) -> int:
    """Elements of a cache line."""
    return _LINE // ITEMSIZE[dtype]


def share_lines(nr: int, tiles: int, dtype: str = "f32") -> int:
    """Cache lines each of `tiles` register tiles has to ask for so that together they fetch one block of 16 rows."""
    return -(-BLOCK * BLOCK * nr // (line_elements(dtype) * max(tiles, 1)))


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
    """`depth` unrolled steps: acc[p, j] += a[offsets[p] + c * stride] * b[c, j] for c in 0..depth.

    `b` is float32 or float16 and `a` either, accumulated in float32; or `b` is int8, packed by the target's `kr`, `a`
    of the type `dot_format` names with stride 1, and `depth`, rounded up to whole steps, sums in int32. `b` of int16 is
    packed like that too, `a` of int16; where the accumulators are int64, both lie number by number.
    """
    columns = [a.offset(offset) for offset in offsets]
    if ahead is not None:
        for line in range(ahead.lines):
            k.prefetch(b.offset(ahead.distance).offset(line * line_elements(b.dtype)))
    if acc.dtype == "i32":
        _dot_steps(k, acc, columns, b, depth, nr)
        return
    unroll = _UNROLL if depth % _UNROLL == 0 else depth
    with k.loop("k", 0, depth if unroll == depth else k.opaque(depth), unroll) as first:
        for i in k.unroll("k", unroll):
            c = first + i
            weights = [load_value(b, BLOCK, (c * nr + j) * BLOCK) for j in range(nr)]
            for p, column in enumerate(columns):
                value = k.broadcast(load_value(column, 1, stride * c), BLOCK)
                for j in range(nr):
                    acc[p, j] = add_product(k, acc[p, j], value, weights[j])


def add_product(k: Kernel, acc: Vec, a: Vec, b: Vec, *, exact: bool = False) -> Vec:
    """acc + a * b; int16 numbers are multiplied in 32 bits and added up in 64. `exact`: see `Kernel.fma`."""
    if acc.is_float:
        return k.fma(a, b, acc, exact=exact)
    return acc + k.convert(k.convert(a, "i32") * k.convert(b, "i32"), acc.dtype)


def _dot_steps(k: Kernel, acc: Tile, columns: Sequence[Pointer], b: Pointer, depth: int, nr: int) -> None:
    """Steps of `kr` numbers."""
    kr = dot_format(k.target, words=b.dtype == "i16").kr
    steps = -(-depth // kr)
    unroll = steps if steps <= _UNROLL else next(n for n in (_UNROLL, 3, 2, 1) if steps % n == 0)
    with k.loop("k", 0, steps if unroll == steps else k.opaque(steps), unroll) as first:
        for i in k.unroll("k", unroll):
            c = first + i
            weights = [load_weights(k, b, (c * nr + j) * (BLOCK * kr)) for j in range(nr)]
            for p, column in enumerate(columns):
                value = load_group(k, column, c * kr)
                for j in range(nr):
                    acc[p, j] = dot(k, acc[p, j], value, weights[j])
