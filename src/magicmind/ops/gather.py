"""Gather, GatherElements, GatherND: reading by index.  ONNX operators of opset 13."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from magicmind.errors import ShapeError
from magicmind.ir.types import Shape, TensorType
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import need_rank, need_within, same_dims

gather = Op("Gather").half()
gather_elements = Op("GatherElements").half()
gather_nd = Op("GatherND").half()


@gather.infer
def infer_gather(node: NodeView) -> list[TensorType]:
    """`axis` of the data is replaced by the shape of the indices."""
    x, indices = need_rank(node.input(0), 1, what="data"), node.input(1)
    axis = node.axis(0, x.rank)
    _check_indices(node, x.dims, axis)
    return [TensorType(x.dtype, (*x.dims[:axis], *indices.dims, *x.dims[axis + 1 :]))]


def _check_indices(node: NodeView, shape: Shape, axis: int) -> None:
    size = shape[axis]
    indices = node.ints(1)
    if isinstance(size, int) and indices and not (-size <= min(indices) and max(indices) < size):
        raise ShapeError(f"indices {indices[:8]} lie outside axis {axis}, which has {size} elements")


@gather.data
def data_gather(node: NodeView) -> list[Array | None]:
    """The picked contents."""
    data, indices = node.data(0), node.const(1)
    if data is None or indices is None:
        return [None]
    picked = np.empty(np.shape(np.take(data, indices, axis=node.attr("axis", 0))), object)
    picked[...] = np.take(data, indices, axis=node.attr("axis", 0))
    return [picked]


@gather_elements.infer
def infer_elements(node: NodeView) -> list[TensorType]:
    """The shape of the indices, which have the rank of the data."""
    x, indices = node.input(0), node.input(1)
    axis = node.axis(0, x.rank)
    need_within(need_rank(indices, x.rank, x.rank, what="indices"), x, axis)
    return [TensorType(x.dtype, indices.shape)]


@gather_elements.reference
def reference_elements(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """By numpy's indexing; onnx's evaluator fails on more than 32 elements, or other sizes beside the axis."""
    x, indices = (np.asarray(a) for a in arrays)
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[NodeView(node).axis(0, x.ndim)] = indices
    return [x[tuple(places)]]


@gather_nd.infer
def infer_nd(node: NodeView) -> list[TensorType]:
    """Indices [..., K] pick along K axes after `batch_dims`."""
    x, indices = need_rank(node.input(0), 1, what="data"), need_rank(node.input(1), 1, what="indices")
    depth, batch = indices.dims[-1], node.attr("batch_dims", 0)
    if not isinstance(depth, int) or not 1 <= depth <= x.rank - batch:
        raise ShapeError(f"indices pick along {depth} axes of data of rank {x.rank} with batch_dims={batch}")
    same_dims(indices.dims[:batch], x.dims[:batch], "batch dims of indices and data")
    return [TensorType(x.dtype, (*indices.dims[:-1], *x.dims[batch + depth :]))]
