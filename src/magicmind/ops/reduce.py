"""Reductions over axes: Reduce*, ArgMax, ArgMin.  ONNX operators of opset 18 (axes are an input)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from magicmind.ir.dims import Dim, dim_max, dim_min, product
from magicmind.ir.types import Shape, TensorType
from magicmind.ops.pool import average_of_bytes
from magicmind.ops.registry import Array, NodeView, Op, normalise_axis

REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")

reductions = {f"Reduce{name}": Op(f"Reduce{name}") for name in REDUCTIONS}
for _name in ("Mean", "Max", "Min"):  # a sum may leave the range of float16
    reductions[f"Reduce{_name}"].half()
arg_max = Op("ArgMax").half()
arg_min = Op("ArgMin").half()


def reduced_axes(node: NodeView) -> tuple[int, ...]:
    """The axes a Reduce* node reduces, non-negative and sorted; empty when it does nothing.

    Raises UnsupportedOperatorError when they are known only at run time.
    """
    rank = node.input(0).rank
    axes = node.need_ints(1, "axes") if node.has(1) else node.ints_attr("axes")
    if axes:
        return tuple(sorted({normalise_axis(a, rank) for a in axes}))
    return () if node.attr("noop_with_empty_axes", 0) else tuple(range(rank))


def without(shape: Shape, axes: Sequence[int], keep: bool) -> Shape:
    """`shape` with `axes` gone, or kept as 1."""
    return tuple(1 if i in axes else d for i, d in enumerate(shape) if keep or i not in axes)


def infer_reduce(node: NodeView) -> list[TensorType]:
    """The input's shape without the reduced axes, or with 1 there (`keepdims`, the default)."""
    x = node.input(0)
    return [TensorType(x.dtype, without(x.dims, reduced_axes(node), node.attr("keepdims", 1) != 0))]


def data_reduce(node: NodeView) -> list[Array | None]:
    """A reduction of all of a list of dims, as shape arithmetic has it."""
    found = node.dims(0)
    if not found or len(reduced_axes(node)) < node.input(0).rank:
        return [None]
    total: Dim = found[0]
    for dim in found[1:]:
        total = _COMBINE[node.op_type](total, dim)
    result = np.empty(1, object)
    result[0] = total
    shape = node.input(0).rank if node.attr("keepdims", 1) else 0
    return [result.reshape((1,) * shape)]


_COMBINE = {
    "ReduceSum": lambda a, b: a + b,
    "ReduceProd": lambda a, b: product((a, b)),
    "ReduceMax": dim_max,
    "ReduceMin": dim_min,
}

for _op in reductions.values():
    _op.infer(infer_reduce)
    if _op.name in _COMBINE:
        _op.data(data_reduce)


@arg_max.infer
@arg_min.infer
def infer_arg(node: NodeView) -> list[TensorType]:
    """int64 positions along `axis`."""
    x = node.input(0)
    axes = (node.axis(0, x.rank),)
    return [TensorType(onnx_ir.DataType.INT64, without(x.dims, axes, node.attr("keepdims", 1) != 0))]


@reductions["ReduceMean"].reference
def reference_mean(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """The mean; of uint8 with a scale as `ops/pool.py` says."""
    view, x = NodeView(node), np.asarray(arrays[0])
    axes, keep = reduced_axes(view), view.attr("keepdims", 1) != 0
    if x.dtype == np.uint8 and view.attr("scale") is not None:
        return [average_of_bytes(view, x, axes, keep=keep)]
    return [np.asarray(x.mean(axes, np.float64 if x.dtype.kind == "f" else None, keepdims=keep)).astype(x.dtype)]
