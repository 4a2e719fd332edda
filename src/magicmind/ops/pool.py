"""MaxPool, AveragePool, LpPool and their global forms.  ONNX operators MaxPool-22, AveragePool-22, LpPool-22.

Averages of uint8, in quantised networks, are uint8: AveragePool, GlobalAveragePool, and ReduceMean over the last axes,
with the attributes `scale` (the input's scale divided by the result's), `x_zero` and `y_zero` (zero points, else 0):
y = saturate(round(sum of (x - x_zero) * (scale / count)) + y_zero), in float32, halves to even.
"""

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

max_pool = Op("MaxPool").half(results=1)
average_pool = Op("AveragePool").half()
lp_pool = Op("LpPool").half()
global_max_pool = Op("GlobalMaxPool").half()
global_average_pool = Op("GlobalAveragePool").half()
global_lp_pool = Op("GlobalLpPool").half()


def pool_window(node: NodeView) -> Window:
    """The window of a pooling node, with resolved padding."""
    return _window(node, node.shape(0)[2:])


def _window(node: NodeView, spatial: Shape) -> Window:
    kernel = node.ints_attr("kernel_shape")
    if kernel is None or len(kernel) != len(spatial) or min(kernel) < 1:
        raise ModelFormatError(f"attribute 'kernel_shape' is {kernel}; {len(spatial)} positive entries are needed")
    return window_of(node, spatial, tuple(kernel), ceil_mode=node.attr("ceil_mode", 0) != 0)


def averages_bytes(node: NodeView) -> bool:
    """Whether the node is an average of uint8 with a scale."""
    return node.input(0).dtype == onnx_ir.DataType.UINT8 and node.attr("scale") is not None


@max_pool.infer
@average_pool.infer
@lp_pool.infer
def infer(node: NodeView) -> list[TensorType]:
    """[N, C, D...] gives [N, C, windows...]; MaxPool's second output holds int64 indices."""
    x = need_rank(node.input(0), 3)
    if node.op_type != "MaxPool" and not averages_bytes(node):
        need_float(x)
    shape = (*x.dims[:2], *pool_window(node).output)
    return [TensorType(x.dtype, shape), TensorType(onnx_ir.DataType.INT64, shape)][: node.num_outputs]


@global_max_pool.infer
@global_average_pool.infer
@global_lp_pool.infer
def infer_global(node: NodeView) -> list[TensorType]:
    """[N, C, D...] gives [N, C, 1...]."""
    x = need_rank(node.input(0), 2)
    if node.op_type != "GlobalMaxPool" and not averages_bytes(node):
        need_float(x)
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


@average_pool.reference
@global_average_pool.reference
def reference_average(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """Averages of uint8 as the head of this file says; of floats by onnx's evaluator."""
    x = np.asarray(arrays[0])
    if x.dtype != np.uint8:
        return evaluate_node(node, arrays)
    view = NodeView(node)
    if node.op_type == "GlobalAveragePool":
        return [average_of_bytes(view, x, tuple(range(2, x.ndim)), keep=True)]
    window = _window(view, x.shape[2:])
    output = [d for d in window.output if isinstance(d, int)]
    result = np.empty((*x.shape[:2], *output), np.uint8)
    for position in np.ndindex(*output):
        ranges = [_inside(window, axis, p, x.shape[2 + axis]) for axis, p in enumerate(position)]
        part = x[np.ix_(range(x.shape[0]), range(x.shape[1]), *ranges)]
        count = np.prod([len(r) for r in ranges])
        if view.attr("count_include_pad", 0):
            count = np.prod([_inside_padding(window, a, p, x.shape[2 + a]) for a, p in enumerate(position)])
        result[(..., *position)] = average_of_bytes(view, part, tuple(range(2, x.ndim)), count=int(count))
    return [result]


def _inside_padding(window: Window, axis: int, position: int, size: int) -> int:
    """How many positions a window reads along an axis, those in the padding included."""
    begin, end = window.pads_begin[axis], window.pads_end[axis]
    assert isinstance(begin, int) and isinstance(end, int)
    first = position * window.strides[axis] - begin
    read = range(first, first + window.kernel[axis] * window.dilations[axis], window.dilations[axis])
    return sum(i < size + end for i in read)


def average_of_bytes(
    node: NodeView, x: Array, axes: tuple[int, ...], *, keep: bool = False, count: int | None = None
) -> Array:
    """The average over `axes`, of `count` elements where some are padding, as the head of this file says."""
    total = (x.astype(np.int32) - node.attr("x_zero", 0)).sum(axis=axes, keepdims=keep, dtype=np.int32)
    number = count or int(np.prod([x.shape[a] for a in axes]))
    scaled = total.astype(np.float32) * (np.float32(node.attr("scale")) / np.float32(max(number, 1)))
    return np.asarray(np.clip(np.rint(scaled) + node.attr("y_zero", 0), 0, 255)).astype(np.uint8)
