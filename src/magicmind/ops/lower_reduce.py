"""Lowering of Reduce*, ArgMax and ArgMin."""

from __future__ import annotations

import onnx_ir as ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import product
from magicmind.kernels.arg_reduce import ArgReduce
from magicmind.kernels.reduce import Reduce, alternate
from magicmind.lower.lowering import Lowering
from magicmind.ops.lower_pool import lower_spatial, lower_trailing, mean
from magicmind.ops.reduce import arg_max, arg_min, reduced_axes, reductions
from magicmind.ops.registry import NodeView

_FLOATS = ("f16", "f32", "f64")
_NUMBERS = (*_FLOATS, "i32", "i64", "u32", "u64")


def _check_dtype(low: Lowering, node: ir.Node, dtype: str) -> None:
    """Raises UnsupportedOperatorError for an element type that ONNX does not give the operator."""
    op = node.op_type.removeprefix("Reduce")
    allowed = {"L2": _FLOATS, "LogSum": _FLOATS, "LogSumExp": _FLOATS, "Max": (dtype,), "Min": (dtype,)}
    if dtype not in allowed.get(op, _NUMBERS):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: a reduction of {dtype} has no kernel")


def lower_reduce(low: Lowering, node: ir.Node) -> None:
    """One pass over the input; a blocked input is reduced over all its pixels."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    if low.layout(x) == "blocked":
        lower_spatial(low, node, mean(low, node))
        return
    dtype, rank = low.dtype(x), len(low.shape(x))
    axes = reduced_axes(NodeView(node))
    if dtype == "u8" and node.op_type == "ReduceMean" and axes == tuple(range(rank - len(axes), rank)):
        lower_trailing(low, node, mean(low, node), len(axes))
        return
    _check_dtype(low, node, dtype)
    sizes, reduced = alternate(low.shape(x), axes)
    p = low.params()
    kernel_dtype = "u8" if dtype == "bool" else dtype
    spec = Reduce(node.op_type.removeprefix("Reduce"), kernel_dtype, tuple(p.size(s) for s in sizes), tuple(reduced))
    memory = low.nbytes(x) + low.nbytes(out)
    low.call(node, spec, [low.ref(x), low.ref(out)], p, flops=product(low.shape(x)), bytes=memory)


for _op in reductions.values():
    _op.lower(lower_reduce)


@arg_max.lower
@arg_min.lower
def lower_arg(low: Lowering, node: ir.Node) -> None:
    """Positions along `axis`."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    view, shape = NodeView(node), low.shape(x)
    axis = view.axis(0, len(shape))
    p = low.params()
    spec = ArgReduce(
        node.op_type == "ArgMax",
        bool(view.attr("select_last_index", 0)),
        low.dtype(x),
        p.size(product(shape[:axis])),
        p.size(shape[axis]),
        p.size(product(shape[axis + 1 :])),
    )
    memory = low.nbytes(x) + low.nbytes(out)
    low.call(node, spec, [low.ref(x), low.ref(out)], p, flops=product(shape), bytes=memory)
