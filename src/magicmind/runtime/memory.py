"""Memory of calls, and where buffers lie in it: offset packing of buffers that live in ranges of epochs."""

from __future__ import annotations

import mmap
from bisect import insort
from collections.abc import Sequence

import numpy as np

_HUGE_BYTES = 4 << 20
_MUCH = 1 << 30


class Memory:
    """Anonymous zeroed memory, page-aligned, with its address.  Raises MemoryError where the machine lacks it."""

    def __init__(self, size: int) -> None:
        require(size)
        self.size = size
        self._map = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if size >= _HUGE_BYTES:
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self.words = memoryview(self._map).cast("q")
        self.address: int = np.frombuffer(self._map, np.uint8).__array_interface__["data"][0]

    def close(self) -> None:
        self.words.release()
        self._map.close()


def require(size: int) -> None:
    """Raises MemoryError for more bytes than are free: the system gives out any number, and ends who writes to them."""
    free = _free() if size >= _MUCH else None
    if free is not None and size > free:
        raise MemoryError(f"this run needs {size / _MUCH:.1f} GiB more, {free / _MUCH:.1f} GiB are free")


def _free() -> int | None:
    """The bytes that programs can have without others being put aside; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next((int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:")), None)
    except (OSError, ValueError):
        return None


def pages(size: int) -> int:
    """Whole pages, at least one."""
    return max(1, -(-size // mmap.PAGESIZE)) * mmap.PAGESIZE


def pack(
    sizes: Sequence[int], firsts: Sequence[int], lasts: Sequence[int], alignment: int = 64
) -> tuple[list[int], int]:
    """Offsets (multiples of `alignment`) and the arena's size, such that buffers alive together do not overlap.

    Buffer i has `sizes[i]` bytes and lives in epochs firsts[i]..lasts[i], both included. Greedy by size: the largest
    first, each in the smallest gap that holds it among the placed ones alive with it (Pisarchyk and Lee 2020,
    "Efficient Memory Management for Deep Neural Net Inference"). Deterministic; about a millisecond for 200 buffers.
    """
    rounded = [-(-size // alignment) * alignment for size in sizes]
    order = sorted(range(len(sizes)), key=lambda i: (-rounded[i], firsts[i], i))
    offsets = [0] * len(sizes)
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last: sorted by offset
    total = 0
    for i in order:
        size, first, last = rounded[i], firsts[i], lasts[i]
        if size == 0:
            continue
        offset = _best_gap(size, [(o, e) for o, e, f, l in placed if f <= last and l >= first])
        offsets[i] = offset
        insort(placed, (offset, offset + size, first, last))
        total = max(total, offset + size)
    return offsets, total


def _best_gap(size: int, taken: list[tuple[int, int]]) -> int:
    """Start of the smallest gap of at least `size` between ranges sorted by start, or the end of all."""
    best, best_gap, end = -1, 0, 0
    for start, stop in taken:
        gap = start - end
        if gap >= size and (best < 0 or gap < best_gap):
            best, best_gap = end, gap
        if stop > end:
            end = stop
    return best if best >= 0 else end
