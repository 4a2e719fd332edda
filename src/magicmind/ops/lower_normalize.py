"""Lowering of the normalisations whose statistics come from the data, and of LRN."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.kernels.normalize import ChannelWindow, LpNormalize, Normalize
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref
from magicmind.ops.normalize import (
    group_normalization,
    instance_normalization,
    layer_normalization,
    lp_normalization,
    lrn,
    rms_normalization,
)
from magicmind.ops.registry import NodeView


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _asked_for(node: ir.Node, index: int) -> bool:
    """Whether output `index` is read by anyone."""
    if index >= len(node.outputs):
        return False
    return bool(node.outputs[index].uses()) or node.outputs[index].is_graph_output()


@layer_normalization.lower
@rms_normalization.lower
def lower_layer(low: Lowering, node: ir.Node) -> None:
    """Rows are what lies before `axis`."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    view, shape, dtype = NodeView(node), low.shape(x), low.dtype(x)
    axis = view.axis(-1, len(shape))
    rows, length = product(shape[:axis]), product(shape[axis:])
    statistics = _asked_for(node, 1) or _asked_for(node, 2)
    if statistics and (low.dtype(node.outputs[1]) != "f32" or len(node.outputs) < 3):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: mean and deviation come in float32, both or none")
    affine = [_per_element(low, node, v, shape[axis:]) for v in (_input(node, 1), _input(node, 2)) if v is not None]
    p = low.params()
    spec = Normalize(
        dtype, p.size(rows), 1, p.size(length), 1, float(view.attr("epsilon", 1e-5)),
        has_bias=len(affine) > 1, centred=node.op_type == "LayerNormalization", statistics=statistics,
        parameters=_parameters(low, node),
    )  # fmt: skip
    if not statistics:
        low.reuse(out, x)
    outputs = [low.ref(v) for v in (node.outputs if statistics else [out])]
    flops, memory = product(shape) * 8, low.nbytes(x) + low.nbytes(out)
    low.call(node, spec, [low.ref(x), *affine, *outputs], p, outputs=len(outputs), flops=flops, bytes=memory)


def _parameters(low: Lowering, node: ir.Node) -> str:
    """The type of scale and bias, where it is not that of the data."""
    x, scale = node.inputs[:2]
    assert x is not None and scale is not None
    return "" if low.dtype(scale) == low.dtype(x) else low.dtype(scale)


def _per_element(low: Lowering, node: ir.Node, value: ir.Value, shape: tuple[Dim, ...]) -> Ref:
    """Scale or bias with one number per element of a row."""
    array = low.const(value)
    if array is not None and all(isinstance(d, int) for d in shape):
        full = np.broadcast_to(array.reshape(array.shape[-len(shape) :]), [d for d in shape if isinstance(d, int)])
        return low.weight(np.ascontiguousarray(full))
    if product(low.shape(value)) != product(shape):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: a scale or bias that broadcasts has no kernel")
    return low.ref(value)


@instance_normalization.lower
@group_normalization.lower
def lower_per_channel(low: Lowering, node: ir.Node) -> None:
    """Rows are the channels of every image, or groups of them."""
    x, scale, bias = node.inputs[:3]
    out = node.outputs[0]
    assert x is not None and scale is not None and bias is not None
    view, (n, c, *spatial) = NodeView(node), low.shape(x)
    groups = c if node.op_type == "InstanceNormalization" else int(view.attr("num_groups", 1))
    low.reuse(out, x)
    p = low.params()
    spec = Normalize(
        low.dtype(x), p.size(n * groups), p.size(groups), p.size(c // groups), p.size(product(spatial)),
        float(view.attr("epsilon", 1e-5)), parameters=_parameters(low, node),
    )  # fmt: skip
    refs = [low.ref(v) for v in (x, scale, bias, out)]
    flops, memory = product(low.shape(x)) * 8, low.nbytes(x) + low.nbytes(out)
    low.call(node, spec, refs, p, flops=flops, bytes=memory)


@lp_normalization.lower
def lower_lp(low: Lowering, node: ir.Node) -> None:
    """Along one axis, p 1 or 2."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    view, shape = NodeView(node), low.shape(x)
    axis, order = view.axis(-1, len(shape)), int(view.attr("p", 2))
    if order not in (1, 2):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: p={order}; ONNX has 1 and 2")
    low.reuse(out, x)
    p = low.params()
    spec = LpNormalize(
        order, low.dtype(x), p.size(product(shape[:axis])), p.size(shape[axis]), p.size(product(shape[axis + 1 :]))
    )
    flops, memory = product(shape) * 3, low.nbytes(x) + low.nbytes(out)
    low.call(node, spec, [low.ref(x), low.ref(out)], p, flops=flops, bytes=memory)


@lrn.lower
def lower_lrn(low: Lowering, node: ir.Node) -> None:
    """Local response normalisation across channels."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    view, (n, c, *spatial) = NodeView(node), low.shape(x)
    size = int(view.attr("size", 1))
    p = low.params()
    spec = ChannelWindow(
        size, float(view.attr("alpha", 1e-4)), float(view.attr("beta", 0.75)), float(view.attr("bias", 1.0)),
        low.dtype(x), p.size(n), p.size(c), p.size(product(spatial)),
    )  # fmt: skip
    flops, memory = product(low.shape(x)) * (2 * size + 8), low.nbytes(x) + low.nbytes(out)
    low.call(node, spec, [low.ref(x), low.ref(out)], p, flops=flops, bytes=memory)
