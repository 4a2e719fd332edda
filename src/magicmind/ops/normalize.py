"""Normalisations: over the batch, an instance, a layer, groups, neighbouring channels, an axis.

ONNX operators BatchNormalization-15, InstanceNormalization-22, LayerNormalization-17, GroupNormalization-21,
RMSNormalization-23, LRN-13, LpNormalization-22, MeanVarianceNormalization-13.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.ir.types import TensorType
from magicmind.ops.expansion import Expansion, Value, inline_body
from magicmind.ops.reduce import without
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import broadcast, need_float, need_rank, same_dim

batch_normalization = Op("BatchNormalization")
instance_normalization = Op("InstanceNormalization").half(0)
layer_normalization = Op("LayerNormalization").half(0, results=1)
rms_normalization = Op("RMSNormalization").half(0, results=1)
group_normalization = Op("GroupNormalization").half(0)
lrn = Op("LRN").half()
lp_normalization = Op("LpNormalization").half()
mean_variance_normalization = Op("MeanVarianceNormalization")


@batch_normalization.infer
def infer_batch(node: NodeView) -> list[TensorType]:
    """X [N, C, ...] with scale, bias, mean and variance of [C]; in training also the new mean and variance."""
    x = need_rank(need_float(node.input(0)), 1, what="X")
    trains = bool(node.attr("training_mode", 0))
    if not trains and sum(bool(v.uses()) for v in node.node.outputs[1:]):
        raise UnsupportedOperatorError("outputs beyond the first need the attribute 'training_mode'")
    channels = x.dims[1] if x.rank > 1 else 1
    for i, what in enumerate(("scale", "bias", "mean", "variance"), 1):
        same_dim(need_rank(node.input(i), 1, 1, what=what).dims[0], channels, f"{what} against the channels")
    return [x, node.input(3), node.input(4)] if trains else [x]


@batch_normalization.expand
def expand_batch(e: Expansion) -> list[Value] | None:
    """Training: normalised by the batch's own statistics, which the running ones move towards.

    Inference declines where all parameters are constant: the pass that folds them does better.
    """
    trains = bool(e.view.attr("training_mode", 0))
    if not trains and all(e.view.const(i) is not None for i in range(1, 5)):
        return None
    x, rank = e.input(0), e.rank(e.input(0))
    wide = e.cast(x, onnx_ir.DataType.FLOAT) if e.type(x).dtype.bitwidth < 32 else x
    scale, bias, old_mean, old_variance = (
        e.cast_like(e.unsqueeze(e.input(i), *range(1, rank - 1)), wide) for i in range(1, 5)
    )
    axes = e.ints(*(i for i in range(rank) if i != 1))
    mean = e.op("ReduceMean", wide, axes, keepdims=1) if trains else old_mean
    centred = e.op("Sub", wide, mean)
    variance = e.op("ReduceMean", e.op("Mul", centred, centred), axes, keepdims=1) if trains else old_variance
    deviation = e.op("Sqrt", e.op("Add", variance, e.scalar(e.view.attr("epsilon", 1e-5), wide)))
    y = e.op("Add", e.op("Mul", e.op("Div", centred, deviation), scale), bias)
    if not trains:
        return [e.cast_like(y, x)]
    momentum = e.view.attr("momentum", 0.9)
    running = [e.cast_like(y, x)]
    for old, new in ((e.input(3), mean), (e.input(4), variance)):
        fresh = e.op("Mul", e.cast_like(e.op("Squeeze", new, axes), old), e.scalar(1 - momentum, old))
        running.append(e.op("Add", e.op("Mul", old, e.scalar(momentum, old)), fresh))
    return running[: len(e.node.outputs)]


@instance_normalization.infer
@group_normalization.infer
def infer_per_channel(node: NodeView) -> list[TensorType]:
    """X [N, C, ...] with scale and bias of [C]."""
    x = need_rank(need_float(node.input(0)), 3, what="X")
    for i, what in enumerate(("scale", "bias"), 1):
        same_dim(need_rank(node.input(i), 1, 1, what=what).dims[0], x.dims[1], f"{what} against the channels")
    if node.op_type == "GroupNormalization":
        groups = node.attr("num_groups", 0)
        if groups < 1 or (isinstance(x.dims[1], int) and x.dims[1] % groups):
            raise ShapeError(f"num_groups={groups} does not divide {x.dims[1]} channels")
    return [x]


@layer_normalization.infer
@rms_normalization.infer
def infer_layer(node: NodeView) -> list[TensorType]:
    """X normalised over the axes from `axis` on; further outputs (mean, inverse deviation) keep those axes as 1."""
    x = need_float(node.input(0))
    axis = node.axis(-1, x.rank)
    for i in range(1, len(node.node.inputs)):
        if node.has(i) and broadcast(x.dims, node.shape(i)) != x.dims:
            raise ShapeError(f"input {i} does not broadcast to the input")
    stash = TensorType(onnx_ir.DataType(node.attr("stash_type", 1)), without(x.dims, range(axis, x.rank), keep=True))
    return [x, stash, stash][: node.num_outputs]


@lrn.infer
def infer_lrn(node: NodeView) -> list[TensorType]:
    """X [N, C, ...], same dtype, same shape."""
    return [need_rank(need_float(node.input(0)), 2)]


@lp_normalization.infer
def infer_lp(node: NodeView) -> list[TensorType]:
    """Same dtype, same shape; `axis` must exist."""
    x = need_float(node.input(0))
    node.axis(-1, x.rank)
    return [x]


@mean_variance_normalization.infer
def infer_mean_variance(node: NodeView) -> list[TensorType]:
    """Same dtype, same shape."""
    return [need_float(node.input(0))]


# ------------------------------------------------- references where onnx's evaluator has none, or differs from ONNX


@group_normalization.reference
def reference_group(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """(x - mean) / sqrt(variance + epsilon) within every group, then scale and bias per channel."""
    x, scale, bias = (np.asarray(a, np.float64) for a in arrays[:3])
    view = NodeView(node)
    groups = x.reshape(x.shape[0], view.attr("num_groups", 1), -1)
    mean, variance = groups.mean(axis=2, keepdims=True), groups.var(axis=2, keepdims=True)
    normal = ((groups - mean) / np.sqrt(variance + view.attr("epsilon", 1e-5))).reshape(x.shape)
    channel = (-1, *([1] * (x.ndim - 2)))
    return [(normal * scale.reshape(channel) + bias.reshape(channel)).astype(np.asarray(arrays[0]).dtype)]


@lrn.reference
def reference_lrn(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """x / (bias + alpha / size * sum of squares over `size` channels around each)^beta."""
    x = np.asarray(arrays[0], np.float64)
    view = NodeView(node)
    size = view.attr("size", 1)
    before, after = (size - 1) // 2, size // 2
    channels = x.shape[1]
    squares = np.stack(
        [(x[:, max(0, c - before) : min(channels, c + after + 1)] ** 2).sum(axis=1) for c in range(channels)], axis=1
    )
    scale = view.attr("bias", 1.0) + view.attr("alpha", 1e-4) / size * squares
    return [(x / scale ** view.attr("beta", 0.75)).astype(np.asarray(arrays[0]).dtype)]


mean_variance_normalization.expand(inline_body)
