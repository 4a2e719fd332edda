"""The columns of [outer, axis, inner] in vectors: the loops that operators along an inner axis share."""

from __future__ import annotations

from collections.abc import Callable

from magicmind.codegen.builder import Index, Kernel
from magicmind.codegen.loops import VectorBody, for_rows, vector_loop
from magicmind.codegen.target import BLOCK


def for_columns(
    k: Kernel, outer: Index, axis: Index, inner: Index, grain: int, columns_of: Callable[[Index], VectorBody]
) -> None:
    """Calls `columns_of(row)(i, lanes, mask)` so that the columns i.. of every row are covered once.

    A row is [axis, inner]; what is called goes along the axis by itself. `grain`: elements that are worth waking
    another thread for.
    """

    def body(row: Index, first: Index, last: Index) -> None:
        vector_loop(k, "column", first, last, columns_of(row))

    columns = k.ceildiv(k.index_max(grain // k.index_max(axis, 1), 1), BLOCK) * BLOCK
    for_rows(k, outer, inner, columns, body)
