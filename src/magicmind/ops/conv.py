"""Conv: sliding dot products over 1, 2 or 3 spatial axes.  ONNX operator Conv-22."""

from __future__ import annotations

from magicmind.errors import ShapeError
from magicmind.ir.types import Shape, TensorType
from magicmind.ops.geometry import Window, static_kernel, window_of
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_float, need_rank, need_same_dtype, same_dim

conv = Op("Conv")


def conv_window(node: NodeView) -> Window:
    """The window of a Conv (also of `magicmind.Conv`), with resolved padding."""
    x, w = node.shape(0), node.shape(1)
    kernel = node.ints_attr("kernel_shape")
    if kernel and tuple(kernel) != w[2:]:
        raise ShapeError(f"kernel_shape {kernel} is not that of the weight, {list(w[2:])}")
    return window_of(node, x[2:], static_kernel(w[2:]))


@conv.infer
def infer(node: NodeView) -> list[TensorType]:
    """X [N, C, D...] and W [M, C/group, K...] give [N, M, ...]; B is [M]."""
    x, w = need_float(node.input(0)), node.input(1)
    dtype = need_same_dtype(x, w, *([node.input(2)] if node.has(2) else []))
    return [TensorType(dtype, conv_output(node))]


def conv_output(node: NodeView) -> Shape:
    """The shape of a convolution's result. Raises ShapeError where the inputs do not fit one another."""
    x = need_rank(node.input(0), 3, what="X")
    w = need_rank(node.input(1), x.rank, x.rank, what="W")
    group = node.attr("group", 1)
    outputs = w.dims[0]
    if group < 1 or (isinstance(outputs, int) and outputs % group):
        raise ShapeError(f"group={group} does not divide {outputs} output channels")
    same_dim(x.dims[1], w.dims[1] * group, f"input channels against the weight's times group={group}")
    if node.has(2):
        same_dim(need_rank(node.input(2), 1, 1, what="B").dims[0], outputs, "bias")
    return (x.dims[0], outputs, *conv_window(node).output)
