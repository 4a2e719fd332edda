"""Loop shapes that many kernels share: a range in vectors with its tail, and rows divided among threads."""

from __future__ import annotations

from collections.abc import Callable

from magicmind.codegen.builder import Index, Kernel
from magicmind.codegen.target import BLOCK
from magicmind.codegen.values import Vec

VectorBody = Callable[[Index, int, Vec | None], None]
RowBody = Callable[[Index, Index, Index], None]


def default_unroll(k: Kernel) -> int:
    """Vectors of 16 elements per step of a cheap loop: about eight registers of loads in flight at most."""
    return max(1, k.target.lanes * 4 // BLOCK)


def vector_loop(
    k: Kernel,
    name: str,
    start: Index,
    stop: Index,
    body: VectorBody,
    *,
    unroll: int = 1,
    lanes: int = BLOCK,
    by_register: bool = True,
) -> None:
    """Calls `body(i, lanes, mask)` so that start..stop is covered once, in order.

    The tail is one masked vector where the target masks memory accesses by itself (AVX-512), elsewhere vectors of the
    register's width (unless not `by_register`) and then single elements: LLVM would take masked accesses apart element
    by element.
    """
    position = _whole_vectors(k, name, start, stop, body, lanes, unroll)
    if k.target.lanes < lanes:
        if by_register:
            position = _whole_vectors(k, f"{name}.register", position, stop, body, k.target.lanes, 1)
        _whole_vectors(k, f"{name}.element", position, stop, body, 1, 1)
        return
    left = stop - position
    if isinstance(left, int):
        if left:
            body(position, lanes, k.first_lanes(left, lanes))
        return
    with k.when(k.b.icmp_signed("<", k.i64(position), k.i64(stop))):
        body(position, lanes, k.first_lanes(left, lanes))


def _whole_vectors(k: Kernel, name: str, start: Index, stop: Index, body: VectorBody, lanes: int, unroll: int) -> Index:
    """Runs `body` on all whole vectors of start..stop and returns where they end."""
    position = start
    for count in (unroll, 1) if unroll > 1 else (1,):
        step = lanes * count
        end = position + (stop - position) // step * step
        if not (isinstance(position, int) and isinstance(end, int) and position >= end):
            with k.loop(f"{name} x{count}" if count > 1 else name, position, end, step) as i:
                for u in range(count):
                    body(i + u * lanes, lanes, None)
        position = end
    return position


def for_rows(k: Kernel, rows: Index, length: Index, grain: Index, body: RowBody, *, whole: bool = False) -> None:
    """Divides rows x length elements among the threads in items of about `grain` elements.

    Calls `body(row, first, last)`, first..last a piece of 0..length; a long row is cut unless `whole`. How the rows
    are cut does not depend on the number of threads.
    """
    short = isinstance(length, int) and isinstance(grain, int) and length <= grain
    pieces: Index = 1 if whole or short else k.ceildiv(length, grain)
    per_item = k.index_max(grain // k.index_max(length, 1), 1)
    first_item, last_item = k.thread_range(k.ceildiv(rows, per_item) * pieces)
    with k.loop("item", first_item, last_item) as item:
        first: Index = 0
        last = length
        if pieces != 1:
            first = (item % pieces) * grain
            last = k.index_min(first + grain, length)
        start = (item // pieces) * per_item
        with k.loop("row", start, k.index_min(start + per_item, rows)) as row:
            body(row, first, last)
