"""Lowering of the pooling operators, windowed and global, in both layouts."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from magicmind.codegen.target import BLOCK
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.attributes import attribute
from magicmind.ir.dims import Dim, ceildiv, product
from magicmind.kernels.global_pool import GlobalPool
from magicmind.kernels.pool import MaxPoolIndices, Pool, Reduction, Requantise, Window
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Params
from magicmind.ops import pool
from magicmind.ops.registry import NodeView

_KINDS = {"MaxPool": "max", "AveragePool": "avg", "LpPool": "lp"}
_GLOBAL_KINDS = {"GlobalMaxPool": "max", "GlobalAveragePool": "avg", "GlobalLpPool": "lp"}
_FLOATS = ("f16", "f32", "f64")
_DTYPES = {"max": (*_FLOATS, "i8", "u8", "i16", "u16", "i32", "i64"), "avg": (*_FLOATS, "u8"), "lp": _FLOATS}


def _reduction(low: Lowering, node: ir.Node, kind: str) -> Reduction:
    """The node's reduction. Raises UnsupportedOperatorError for an element type or norm without a kernel."""
    x = node.inputs[0]
    assert x is not None
    if low.dtype(x) not in _DTYPES[kind]:
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: pooling of {low.dtype(x)} has no kernel")
    p = int(attribute(node, "p", 2))
    if kind == "lp" and p not in (1, 2):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: p={p} has no kernel; 1 and 2 have")
    if kind == "lp":
        return Reduction(kind, p)
    return mean(low, node) if kind == "avg" else Reduction(kind)


def mean(low: Lowering, node: ir.Node) -> Reduction:
    """An average of floats, or of bytes with their scale and zero points (`ops/pool.py`)."""
    x, scale = node.inputs[0], attribute(node, "scale", None)
    assert x is not None
    if low.dtype(x) != "u8":
        return Reduction("avg")
    if scale is None:
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: an average of bytes needs the attribute 'scale'")
    zeros = (int(attribute(node, name, 0)) for name in ("x_zero", "y_zero"))
    return Reduction("avg", requantise=Requantise(float(np.float32(scale)), *zeros))


def _unit(low: Lowering, value: ir.Value) -> int:
    return BLOCK if low.layout(value) == "blocked" else 1


def _windows(low: Lowering, node: ir.Node, p: Params) -> tuple[Window, ...]:
    x = node.inputs[0]
    assert x is not None
    w = pool.pool_window(NodeView(node))
    sizes, outs = low.shape(x)[2:], low.shape(node.outputs[0])[2:]
    return tuple(
        Window(p.size(size), p.size(out), kernel, stride, dilation, p.size(before), p.size(after))
        for size, out, kernel, stride, dilation, before, after in zip(
            sizes, outs, w.kernel, w.strides, w.dilations, w.pads_begin, w.pads_end, strict=True
        )
    )


@pool.max_pool.lower
@pool.average_pool.lower
@pool.lp_pool.lower
def lower(low: Lowering, node: ir.Node) -> None:
    """Windowed pooling; indices are asked for in plain layout only."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    p, dtype, unit = low.params(), low.dtype(x), _unit(low, x)
    reduction = _reduction(low, node, _KINDS[node.op_type])
    n, c, *_ = low.shape(x)
    planes = p.size(n * ceildiv(c, unit))
    axes = _windows(low, node, p)
    flops = product(low.shape(out)) * product(a.window for a in axes if isinstance(a.window, int))
    memory = low.nbytes(x) + low.nbytes(out)
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        spec = MaxPoolIndices(planes, axes, dtype, bool(attribute(node, "storage_order", 0)))
        refs = [low.ref(x), low.ref(out), low.ref(node.outputs[1])]
        low.call(node, spec, refs, p, outputs=2, flops=flops, bytes=memory)
        return
    count_pad = bool(attribute(node, "count_include_pad", 0))
    low.call(
        node, Pool(reduction, planes, axes, unit, dtype, count_pad), [low.ref(x), low.ref(out)], p,
        flops=flops, bytes=memory,
    )  # fmt: skip


@pool.global_max_pool.lower
@pool.global_average_pool.lower
@pool.global_lp_pool.lower
def lower_global(low: Lowering, node: ir.Node) -> None:
    """A reduction over all pixels of every plane."""
    lower_spatial(low, node, _reduction(low, node, _GLOBAL_KINDS[node.op_type]))


def lower_spatial(low: Lowering, node: ir.Node, reduction: Reduction) -> None:
    """Reduces all spatial axes of input 0 (also for ReduceMean, ReduceMax and the like over all of them)."""
    x = node.inputs[0]
    assert x is not None
    unit = _unit(low, x)
    n, c, *spatial = low.shape(x)
    _reduce_planes(low, node, reduction, n * ceildiv(c, unit), product(spatial), unit)


def lower_trailing(low: Lowering, node: ir.Node, reduction: Reduction, axes: int) -> None:
    """Reduces the last `axes` axes of a plain input 0."""
    x = node.inputs[0]
    assert x is not None
    shape = low.shape(x)
    kept = len(shape) - axes
    _reduce_planes(low, node, reduction, product(shape[:kept]), product(shape[kept:]), 1)


def _reduce_planes(low: Lowering, node: ir.Node, reduction: Reduction, planes: Dim, pixels: Dim, unit: int) -> None:
    x, p = node.inputs[0], low.params()
    assert x is not None
    spec = GlobalPool(reduction, p.size(planes), p.size(pixels), unit, low.dtype(x))
    refs = [low.ref(x), low.ref(node.outputs[0])]
    memory = low.nbytes(x) + low.nbytes(node.outputs[0])
    low.call(node, spec, refs, p, flops=planes * pixels * unit, bytes=memory)
