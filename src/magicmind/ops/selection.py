"""Operators whose output sizes only the data tells: NonZero, Compress, Unique, NonMaxSuppression.

ONNX operators NonZero-13, Compress-11, Unique-11, NonMaxSuppression-11.
"""

from __future__ import annotations

import onnx_ir

from magicmind.ir.types import TensorType
from magicmind.ops.registry import NodeView, Op, normalise_axis
from magicmind.ops.shapes import need_rank

_INT64 = onnx_ir.DataType.INT64

non_zero = Op("NonZero").host()
compress = Op("Compress").host()
unique = Op("Unique").host()
non_max_suppression = Op("NonMaxSuppression").host()


@non_zero.infer
def infer_non_zero(node: NodeView) -> list[TensorType]:
    """[rank, count]."""
    return [TensorType(_INT64, (node.input(0).rank, node.unknown(0, 1)))]


@compress.infer
def infer_compress(node: NodeView) -> list[TensorType]:
    """The input with an unforeseen size along `axis`; a vector without one."""
    x = node.input(0)
    axis = node.attr("axis")
    if axis is None:
        return [TensorType(x.dtype, (node.unknown(0),))]
    axis = normalise_axis(axis, x.rank)
    return [TensorType(x.dtype, tuple(node.unknown(0, i) if i == axis else d for i, d in enumerate(x.dims)))]


@unique.infer
def infer_unique(node: NodeView) -> list[TensorType]:
    """The distinct slices (elements, without `axis`), first places, numbers and counts."""
    x = node.input(0)
    axis, count = node.attr("axis"), node.unknown(0)
    if axis is None:
        return [TensorType(x.dtype, (count,)), *(TensorType(_INT64, (d,)) for d in (count, x.size, count))]
    axis = normalise_axis(axis, x.rank)
    values = tuple(count if i == axis else d for i, d in enumerate(x.dims))
    return [TensorType(x.dtype, values), *(TensorType(_INT64, (d,)) for d in (count, x.dims[axis], count))]


@non_max_suppression.infer
def infer_non_max_suppression(node: NodeView) -> list[TensorType]:
    """[selected, 3]."""
    need_rank(node.input(0), 3, 3, "boxes")
    need_rank(node.input(1), 3, 3, "scores")
    return [TensorType(_INT64, (node.unknown(0), 3))]
