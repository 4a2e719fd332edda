"""MaxPool, AveragePool, LpPool and their global forms.  ONNX operators MaxPool-22, AveragePool-22, LpPool-22."""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.ir.types import TensorType
from magicmind.ops.geometry import Window, window_of
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_float, need_rank

max_pool = Op("MaxPool")
average_pool = Op("AveragePool")
lp_pool = Op("LpPool")
global_max_pool = Op("GlobalMaxPool")
global_average_pool = Op("GlobalAveragePool")
global_lp_pool = Op("GlobalLpPool")


def pool_window(node: NodeView) -> Window:
    """The window of a pooling node, with resolved padding."""
    spatial = node.shape(0)[2:]
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
