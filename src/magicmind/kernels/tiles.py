"""How a row of pixels is cut into register tiles."""

from __future__ import annotations

from collections.abc import Callable

from magicmind.codegen.builder import Index, Kernel


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
