"""Constant weights and per-channel affine functions: what `fold_batch_norm` and `fold_scale` share.

`y = x * scale + offset` with one scale and offset per output channel folds into the weights and bias of the Conv,
ConvTranspose, Gemm or MatMul that computes x. The arithmetic is float64, rounded to the dtype of the weights once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir

from magicmind.ir.types import const_of, shape_of
from magicmind.passes.edit import add_constant, attribute, graph_of, is_op, only_user, replace_node
from magicmind.passes.infra import Decline

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Linear:
    """A node with constant weights of which `y * scale + offset` can be made a part. `bias` is None when absent."""

    node: onnx_ir.Node
    weights: Array
    bias: Array | None
    channels: int


def linear_of(value: onnx_ir.Value | None, offset: bool) -> Linear | Decline:
    """The node that computes `value`, when an affine function (with an `offset`?) can be folded into it."""
    node = value.producer() if value is not None else None
    if value is None or node is None or not is_op(node, *LINEAR):
        return Decline("the input is no convolution or matrix product")
    if only_user(value) is None:
        return Decline("the unscaled value is used elsewhere")
    weights = const_of(node.inputs[1])
    if weights is None or not np.issubdtype(weights.dtype, np.floating):
        return Decline("the weights are not constant floats")
    if node.op_type == "MatMul" and (weights.ndim != 2 or offset):
        return Decline("MatMul has no bias, or its weights are no matrix")
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = const_of(given)
    if given is not None and bias is None:
        return Decline("the bias is not constant")
    channels = _channels(node, weights)
    if bias is not None and (bias.size not in (1, channels) or bias.shape[-1:] not in ((), (1,), (channels,))):
        return Decline("the bias is not one per channel")
    return Linear(node, weights, bias, channels)


def _channels(node: onnx_ir.Node, weights: Array) -> int:
    match node.op_type:
        case "Conv":
            return int(weights.shape[0])
        case "ConvTranspose":
            return int(weights.shape[1] * attribute(node, "group", 1))
        case "Gemm":
            return int(weights.shape[0 if attribute(node, "transB", 0) else 1])
    return int(weights.shape[-1])


def channel_axis(node: onnx_ir.Node, rank: int) -> int:
    """The axis of the output that `Linear.channels` counts."""
    return 1 if node.op_type in ("Conv", "ConvTranspose") else rank - 1


def fold_affine(old: onnx_ir.Node, linear: Linear, scale: Array, offset: Array | None) -> None:
    """Replaces `old`, which computes `x * scale + offset`, by `linear.node` with new weights and bias."""
    node, graph = linear.node, graph_of(linear.node)
    weights = _scaled(linear, scale)
    inputs = [node.inputs[0], add_constant(graph, weights, f"{node.name}.weight")]
    attributes = {name: attr.value for name, attr in node.attributes.items()}
    bias = np.zeros(linear.channels) if linear.bias is None else linear.bias.astype(np.float64).reshape(-1)
    bias = np.broadcast_to(bias, (linear.channels,))
    if node.op_type == "Gemm":
        bias = bias * attributes.pop("beta", 1.0)
    bias = bias * scale + (0.0 if offset is None else offset)
    if linear.bias is not None or offset is not None:
        inputs.append(add_constant(graph, bias.astype(linear.weights.dtype), f"{node.name}.bias"))
    replace_node(old, node.op_type, inputs, attributes, name=node.name, fused=[node])


def _scaled(linear: Linear, scale: Array) -> Array:
    weights = linear.weights.astype(np.float64)
    match linear.node.op_type:
        case "Conv":
            weights *= scale.reshape(-1, *[1] * (weights.ndim - 1))
        case "ConvTranspose":  # weights are [channels in, channels out per group, ...]
            group = attribute(linear.node, "group", 1)
            per_group = scale.reshape(group, 1, -1, *[1] * (weights.ndim - 2))
            weights = (weights.reshape(group, -1, *weights.shape[1:]) * per_group).reshape(weights.shape)
        case "Gemm" if attribute(linear.node, "transB", 0):
            weights *= scale[:, None]
        case _:
            weights *= scale
    return weights.astype(linear.weights.dtype)


def per_channel(array: Array, axis: int, rank: int, channels: int) -> Array | None:
    """`array` as float64[channels] when it broadcasts over every axis but `axis` of a tensor of `rank`, else None."""
    if array.ndim > rank:
        return None
    full = array.reshape((1,) * (rank - array.ndim) + array.shape)
    others = full.shape[:axis] + full.shape[axis + 1 :]
    if any(size != 1 for size in others) or full.shape[axis] not in (1, channels):
        return None
    return np.broadcast_to(full.reshape(-1).astype(np.float64), (channels,))


def constant_after(value: onnx_ir.Value, op_type: str) -> tuple[onnx_ir.Node, Array] | None:
    """The one node that reads `value`, where that adds to it or multiplies it by a constant, and the constant.

    None where the constant broadcasts the value.
    """
    after = only_user(value)
    if after is None or not is_op(after, op_type) or shape_of(after.outputs[0]) != shape_of(value):
        return None
    other = const_of(after.inputs[1] if after.inputs[0] is value else after.inputs[0])
    return None if other is None else (after, other)


def rank_of(value: onnx_ir.Value | None) -> int | None:
    shape = shape_of(value) if value is not None else None
    return None if shape is None else len(shape)
