"""The nodes that programs add to a network: one row per `add_i_*_node`, and what it means in ONNX operators.

A row is the call's operands (`x?` may be None, `x*` is a list, `.x` is a number, enumeration or list instead of a
tensor), the setters of its node with what they are unless called, and the operators that are emitted once shapes and
settings are known.
"""

from __future__ import annotations

from collections.abc import Sequence

from magicmind.facade.nodes import (
    arithmetic,
    boxes,
    moves,
    places,
    products,
    recurrent,
    regions,
    strided_slice,
    windows,
)
from magicmind.facade.nodes.row import Row

ROWS: Sequence[Row] = (
    *moves.ROWS, *strided_slice.ROWS, *places.ROWS, *windows.ROWS, *products.ROWS, *recurrent.ROWS,
    *arithmetic.ROWS, *boxes.ROWS, *regions.ROWS,
)  # fmt: skip
"""Every node that can be added."""

__all__ = ["ROWS", "Row"]
