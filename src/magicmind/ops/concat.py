"""Concat and Split along one axis.  ONNX operators Concat-13, Split-18."""

from __future__ import annotations

import numpy as np

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.ir.dims import Dim, ceildiv
from magicmind.ir.types import TensorType
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import need_rank, need_same_dtype, same_dim

concat = Op("Concat").half()
split = Op("Split").half()


@concat.infer
def infer_concat(node: NodeView) -> list[TensorType]:
    """Inputs of one dtype and rank, equal but for `axis`, which adds up."""
    first, *rest = node.inputs
    if "axis" not in node.node.attributes:
        raise ModelFormatError("attribute 'axis' is missing")
    axis = node.axis(0, first.rank)
    dims = list(first.dims)
    for t in rest:
        need_rank(t, first.rank, first.rank)
        for i, dim in enumerate(t.dims):
            dims[i] = dims[i] + dim if i == axis else same_dim(dims[i], dim, f"axis {i} of the parts")
    return [TensorType(need_same_dtype(first, *rest), tuple(dims))]


@concat.data
def data_concat(node: NodeView) -> list[Array | None]:
    """The contents one after the other."""
    parts = [node.data(i) for i in range(len(node.node.inputs))]
    known = [p for p in parts if p is not None]
    return [np.concatenate(known, axis=node.attr("axis", 0)) if len(known) == len(parts) else None]


def split_sizes(node: NodeView) -> list[Dim]:
    """The extent of every part along the axis.  Raises ShapeError when they do not add up."""
    x = node.input(0)
    total = x.dims[node.axis(0, x.rank)]
    count = node.num_outputs
    given: list[Dim] | None = list(node.need_ints(1, "split")) if node.has(1) else None
    if given is None:
        each = ceildiv(total, count)
        given = [each] * (count - 1)
        given.append(total - each * (count - 1))
    if len(given) != count or any(isinstance(d, int) and d < 0 for d in given):
        raise ShapeError(f"{count} parts of {total} with sizes {given}")
    same_dim(sum(given), total, "the sum of the parts")
    return given


@split.infer
def infer_split(node: NodeView) -> list[TensorType]:
    """One type per part."""
    x = node.input(0)
    axis = node.axis(0, x.rank)
    return [TensorType(x.dtype, (*x.dims[:axis], d, *x.dims[axis + 1 :])) for d in split_sizes(node)]


@split.data
def data_split(node: NodeView) -> list[Array | None]:
    """The contents cut into parts."""
    data, sizes = node.data(0), split_sizes(node)
    if data is None or not all(isinstance(s, int) for s in sizes):
        return [None] * node.num_outputs
    cuts = np.cumsum([s for s in sizes if isinstance(s, int)])[:-1]
    return list(np.split(data, cuts, axis=node.attr("axis", 0)))
