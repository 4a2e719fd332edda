"""How results are printed: tables with aligned columns, sizes, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from magicmind.tensorinfo import TensorInfo


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two blanks apart; a column whose cells all start with a digit, sign or dash is set right."""
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in head]
    widths = [max([len(title), *map(len, column)]) for title, column in zip(head, columns, strict=True)]
    right = [bool(column) and all(cell[:1] in "-+.0123456789" for cell in column) for column in columns]
    return "\n".join(_line(row, widths, right) for row in (head, *rows))


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True))
    return "  ".join(cells).rstrip()


def size(count: float) -> str:
    """Bytes for people: 512 B, 1.4 KiB, 97.8 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def tensor(info: TensorInfo) -> str:
    """`data float32 [1..64, 3, 224, 224]`."""
    return f"{info.name} {info.dtype} [{', '.join(map(_dim, info.shape))}]"


def _dim(dim: int | tuple[int, int | None]) -> str:
    return str(dim) if isinstance(dim, int) else f"{dim[0]}..{'' if dim[1] is None else dim[1]}"


def tensor_json(info: TensorInfo) -> dict[str, Any]:
    """A mutable dim is `[min, max]`, `null` where there is no upper bound."""
    return {"name": info.name, "dtype": str(info.dtype), "shape": list(info.shape)}


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2)
    print()
