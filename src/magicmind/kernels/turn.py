"""Transposing a small matrix between a tensor and a thread's scratch, of any size, constant or not."""

from __future__ import annotations

from collections.abc import Callable

from magicmind.codegen.builder import Index, Kernel, Pointer, Vec
from magicmind.kernels.scalar import load_value, store_value
from magicmind.kernels.transpose import side, transpose


def turn(
    k: Kernel,
    source: Pointer,
    source_row: Index,
    rows: Index,
    columns: Index,
    to: Pointer,
    to_row: Index,
    change: Callable[[Vec], Vec] = lambda v: v,
) -> None:
    """to[c, r] = change(source[r, c]) for r < rows, c < columns; the last dim of both is contiguous.

    `change` maps what `load_value` gives of the source to float32; `to` is float32 or float16. Squares are turned in
    registers, what is left over goes element by element.
    """
    n = side(k.target, "f32")
    whole_rows, whole_columns = rows // n * n, columns // n * n

    def element(r: Index, c: Index) -> None:
        store_value(to, change(load_value(source, 1, r * source_row + c)), c * to_row + r)

    with k.loop("r", 0, whole_rows, n) as r:
        with k.loop("c", 0, whole_columns, n) as c:
            square = [change(load_value(source, n, (r + i) * source_row + c)) for i in range(n)]
            for i, vector in enumerate(transpose(square)):
                store_value(to, vector, (c + i) * to_row + r)
        with k.loop("c1", whole_columns, columns) as c, k.loop("r1", r, r + n) as r1:
            element(r1, c)
    with k.loop("r1", whole_rows, rows) as r, k.loop("c1", 0, columns) as c:
        element(r, c)
