"""Square transposes in registers."""

from __future__ import annotations

from collections.abc import Sequence

from magicmind.codegen.builder import Vec
from magicmind.codegen.shuffle import every_second_part, interleave_parts
from magicmind.codegen.target import Target
from magicmind.codegen.values import ITEMSIZE

_PART = 16  # bytes of a 128-bit part, within which unpacking is one instruction


def side(target: Target, dtype: str) -> int:
    """Rows and columns of the tile that suits the registers: a multiple of what one 128-bit part holds."""
    return max(_PART, 4 * target.lanes) // ITEMSIZE[dtype] if ITEMSIZE[dtype] >= 4 else _PART // ITEMSIZE[dtype]


def transpose(rows: Sequence[Vec]) -> list[Vec]:
    """Transposes n vectors of n lanes: first inside the 128-bit parts, then the parts themselves."""
    n = len(rows)
    per_part = min(n, _PART // ITEMSIZE[rows[0].dtype])
    parts = n // per_part
    groups = [_inside_parts(rows[g * per_part : (g + 1) * per_part], per_part) for g in range(parts)]
    columns: list[Vec] = [rows[0]] * n
    for j in range(per_part):
        for part, column in enumerate(_across_parts([group[j] for group in groups], per_part)):
            columns[part * per_part + j] = column
    return columns


def _inside_parts(rows: Sequence[Vec], per_part: int) -> list[Vec]:
    """Within every part, a transpose of per_part x per_part, by rounds of interleaving row i and row i + half."""
    current, half = list(rows), per_part // 2
    for _ in range(per_part.bit_length() - 1):
        pairs = [(current[i], current[i + half]) for i in range(half)]
        current = [interleave_parts(a, b, per_part, start) for a, b in pairs for start in (0, half)]
    return current


def _across_parts(vectors: Sequence[Vec], per_part: int) -> list[Vec]:
    """Transposes a square of whole parts: result p holds part p of every vector."""
    count = len(vectors)
    if count == 1:
        return list(vectors)
    half = count // 2
    even = [every_second_part(vectors[2 * i], vectors[2 * i + 1], per_part, 0) for i in range(half)]
    odd = [every_second_part(vectors[2 * i], vectors[2 * i + 1], per_part, 1) for i in range(half)]
    if count == 2:
        return [even[0], odd[0]]
    return [
        every_second_part(even[0], even[1], per_part, 0),
        every_second_part(odd[0], odd[1], per_part, 0),
        every_second_part(even[0], even[1], per_part, 1),
        every_second_part(odd[0], odd[1], per_part, 1),
    ]
