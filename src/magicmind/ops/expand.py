"""Expand and Tile: repeating along axes.  ONNX operators of opset 13."""

from __future__ import annotations

import numpy as np

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import Dim
from magicmind.ir.types import TensorType
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import broadcast, either_may_be_one

expand = Op("Expand").half()
tile = Op("Tile").half()


def _shape_input(node: NodeView, what: str) -> list[Dim]:
    found = node.dims(1)
    if found is None:
        raise UnsupportedOperatorError(f"{what} (input 1) depends on run-time data; it must follow from shapes")
    return found


@expand.infer
def infer_expand(node: NodeView) -> list[TensorType]:
    """The shape that the input and the target broadcast to."""
    x, target = node.input(0), _shape_input(node, "the target shape")
    if any(either_may_be_one(a, b) for a, b in zip(reversed(x.dims), reversed(target), strict=False)):
        raise UnsupportedOperatorError("which of the sizes repeats depends on run-time data")
    return [TensorType(x.dtype, broadcast(x.dims, tuple(target)))]


@expand.data
def data_expand(node: NodeView) -> list[Array | None]:
    """The repeated contents."""
    (t,) = infer_expand(node)
    data = node.data(0)
    return [np.broadcast_to(data, t.dims) if data is not None and t.is_static else None]  # type: ignore[arg-type]


@tile.infer
def infer_tile(node: NodeView) -> list[TensorType]:
    """Every dim times its repeats."""
    x = node.input(0)
    repeats = _shape_input(node, "repeats")
    if len(repeats) != x.rank:
        raise ShapeError(f"{len(repeats)} repeats for {x.rank} axes")
    return [TensorType(x.dtype, tuple(d * r for d, r in zip(x.dims, repeats, strict=True)))]
