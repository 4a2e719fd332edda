"""MaxPool, AveragePool, LpPool and their global forms.  ONNX operators MaxPool-22, AveragePool-22, LpPool-22."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.ir.evaluate import evaluate_node
from magicmind.ir.types import Shape, TensorType
from magicmind.ops.geometry import Window, window_of
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import need_float, need_rank

max_pool = Op("MaxPool")
average_pool = Op("AveragePool")
lp_pool = Op("LpPool")
global_max_pool = Op("GlobalMaxPool")
global_average_pool = Op("GlobalAveragePool")
global_lp_pool = Op("GlobalLpPool")


def pool_window(node: NodeView) -> Window:
    """The window of a pooling node, with resolved padding."""
    return _window(node, node.shape(0)[2:])


def _window(node: NodeView, spatial: Shape) -> Window:
    kernel = node.ints_attr("kernel_shape")
    if kernel is None or len(kernel) != len(spatial) or min(kernel) < 1:
        raise ModelFormatError(f"attribute 'kernel_shape' is {kernel}; {len(spatial)} positive entries are needed")
    return window_of(node, spatial, tuple(kernel), ceil_mode=node.attr("ceil_mode", 0) != 0)


@max_pool.infer
@average_pool.infer
@lp_pool.infer
def infer(node: NodeView) -> list[TensorType]:
    """[N, C, D...] gives [N, C, windows...]; MaxPool's second output holds int64 indices."""
    x = need_rank(node.input(0), 3)
    if node.op_type != "MaxPool":
        need_float(x)
    shape = (*x.dims[:2], *pool_window(node).output)
    return [TensorType(x.dtype, shape), TensorType(onnx_ir.DataType.INT64, shape)][: node.num_outputs]


@global_max_pool.infer
@global_average_pool.infer
@global_lp_pool.infer
def infer_global(node: NodeView) -> list[TensorType]:
    """[N, C, D...] gives [N, C, 1...]."""
    x = need_rank(need_float(node.input(0)), 2)
    return [TensorType(x.dtype, (*x.dims[:2], *([1] * (x.rank - 2))))]


@max_pool.reference
def reference_max(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """The largest element of every window; onnx's own evaluator misplaces SAME_LOWER padding."""
    x = np.asarray(arrays[0])
    if len(node.outputs) > 1:
        return evaluate_node(node, arrays)
    window = _window(NodeView(node), x.shape[2:])
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    output = [d for d in window.output if isinstance(d, int)]
    result = np.full((*x.shape[:2], *output), lowest, x.dtype)
    for position in np.ndindex(*output):
        ranges = [_inside(window, axis, p, x.shape[2 + axis]) for axis, p in enumerate(position)]
        if all(ranges):
            part = x[np.ix_(range(x.shape[0]), range(x.shape[1]), *ranges)]
            result[(..., *position)] = part.max(axis=tuple(range(2, x.ndim)))
    return [result]


def _inside(window: Window, axis: int, position: int, size: int) -> list[int]:
    """The input positions that a window reads along an axis, without those in the padding."""
    begin = window.pads_begin[axis]
    assert isinstance(begin, int)
    first = position * window.strides[axis] - begin
    read = range(first, first + window.kernel[axis] * window.dilations[axis], window.dilations[axis])
    return [i for i in read if 0 <= i < size]


@global_max_pool.reference
def reference_global_max(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """The maximum over all spatial axes."""
    x = np.asarray(arrays[0])
    return [x.max(axis=tuple(range(2, x.ndim)), keepdims=True)]
