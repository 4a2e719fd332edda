"""How kernels share their work between threads."""

from __future__ import annotations

from collections.abc import Sequence

from magicmind.codegen.builder import Index, Kernel, Param, Size

_GRAIN = 1000  # vector operations that are worth waking another thread for


def even_items(k: Kernel, pieces: Index, others: Index) -> Index:
    """As many pieces or a few more, so that `pieces * others` items fall evenly on the threads.

    Known at run time only, and for work whose result does not depend on how it is cut.
    """
    goal = k.index_max(pieces, k.ceildiv(k.nthreads, k.index_max(others, 1)))
    odd = k.b.icmp_signed("!=", k.i64(others % k.nthreads), k.i64(0))
    return k.index_select(odd, k.ceildiv(goal, k.nthreads) * k.nthreads, goal)


def share(k: Kernel, items: Index, cost: Index) -> tuple[Index, Index]:
    """This thread's [first, last) of `items`, each of about `cost` vector operations.

    Items are handed out in groups worth a barrier, so a small tensor stays on thread 0.
    """
    grain = k.ceildiv(_GRAIN, k.index_max(cost, 1))
    first, last = k.thread_range(k.ceildiv(items, grain))
    return first * grain, k.index_min(last * grain, items)


def unravel(flat: Index, extents: Sequence[Index]) -> list[Index]:
    """Row-major coordinates of a flat index; the first extent is not needed and not looked at."""
    result: list[Index] = []
    for extent in reversed(extents[1:]):
        result.append(flat % extent)
        flat = flat // extent
    return [flat, *reversed(result)] if extents else []


def product(values: Sequence[Index]) -> Index:
    """Product of constants and run-time values."""
    result: Index = 1
    for value in values:
        result = result * value
    return result


def ravel(coordinates: Sequence[Index], extents: Sequence[Index]) -> Index:
    """Row-major flat index."""
    flat: Index = 0
    for coordinate, extent in zip(coordinates, extents, strict=True):
        flat = flat * extent + coordinate
    return flat


def params_of(*sizes: Size) -> int:
    """Number of run-time arguments a kernel with these sizes takes."""
    return 1 + max((s.index for s in sizes if isinstance(s, Param)), default=-1)
