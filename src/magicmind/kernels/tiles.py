"""How a row of pixels is cut into register tiles."""

from __future__ import annotations

from collections.abc import Callable

from magicmind.codegen.builder import Index, Kernel

_LEAST = 4
"""Rows from which on a register tile is no longer bound by the latency of its accumulators."""


def balanced(extent: int, most: int) -> list[tuple[int, int]]:
    """Cuts `extent` into ceil(extent / most) tiles whose sizes differ by at most one: [(size, how many), ...]."""
    tiles = -(-extent // most)
    if tiles == 0:
        return []
    small, larger = divmod(extent, tiles)
    return [(size, count) for size, count in ((small + 1, larger), (small, tiles - larger)) if count]


def for_tiles(k: Kernel, name: str, extent: Index, most: int, body: Callable[[Index, int], None]) -> None:
    """Calls `body(first, size)` for tiles that cover 0..extent.

    A constant extent is cut evenly; a run-time extent into tiles of `most`, then of halving sizes.
    """
    if isinstance(extent, int):
        start = 0
        for size, count in balanced(extent, most):
            with k.loop(name, start, start + size * count, size) as first:
                body(first, size)
            start += size * count
        return
    begin: Index = 0
    size = most
    while size:
        stop = begin + ((extent - begin) // size) * size
        with k.loop(f"{name}{size}", begin, stop, size) as first:
            body(first, size)
        begin, size = stop, size // 2


def for_even_tiles(k: Kernel, name: str, extent: Index, most: int, body: Callable[[Index, int], None]) -> None:
    """As `for_tiles`, for bodies that are long loops: no tile is small where the extent allows it.

    A run-time extent is cut into tiles of `most` and the rest, which borrows one of them when it is small, into equal
    parts of at most about half of `most`. Every size of a part is written out: with 14, tiles of 14 and of 1 to 7.
    """
    half = max(most // 2, min(_LEAST + 1, most - 1))
    if isinstance(extent, int) or half == 0:
        for_tiles(k, name, extent, most, body)
        return
    whole = extent // most
    rest = extent - whole * most
    small = k.b.and_(k.b.icmp_signed(">", k.i64(rest), k.i64(0)), k.b.icmp_signed("<", k.i64(rest), k.i64(_LEAST)))
    borrows = k.b.and_(small, k.b.icmp_signed(">", k.i64(whole), k.i64(0)))
    stop = k.index_select(borrows, whole - 1, whole) * most
    with k.loop(name, 0, stop, most) as first:
        body(first, most)
    rest = extent - stop
    parts = k.ceildiv(rest, half)
    least = rest // k.index_max(parts, 1)
    larger_from = parts - (rest - least * parts)
    with k.loop(f"{name}.part", 0, parts) as part:
        beyond = k.index_max(part - larger_from, 0)
        begin = stop + part * least + beyond
        length = least + k.index_min(k.index_max(part - larger_from + 1, 0), 1)
        for size in range(1, half + 1):
            with k.when(k.b.icmp_signed("==", k.i64(length), k.i64(size))):
                body(begin, size)
