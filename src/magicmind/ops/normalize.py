"""Normalisations: over the batch, an instance, a layer, groups, neighbouring channels, an axis.

ONNX operators BatchNormalization-15, InstanceNormalization-22, LayerNormalization-17, GroupNormalization-21,
RMSNormalization-23, LRN-13, LpNormalization-22, MeanVarianceNormalization-13.
"""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.ir.types import TensorType
from magicmind.ops.reduce import without
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import broadcast, need_float, need_rank, same_dim

batch_normalization = Op("BatchNormalization")
instance_normalization = Op("InstanceNormalization")
layer_normalization = Op("LayerNormalization")
rms_normalization = Op("RMSNormalization")
group_normalization = Op("GroupNormalization")
lrn = Op("LRN")
lp_normalization = Op("LpNormalization")
mean_variance_normalization = Op("MeanVarianceNormalization")


@batch_normalization.infer
def infer_batch(node: NodeView) -> list[TensorType]:
    """X [N, C, ...] with scale, bias, mean and variance of [C]; inference form only."""
    x = need_rank(need_float(node.input(0)), 1, what="X")
    if node.attr("training_mode", 0) or sum(bool(v.uses()) for v in node.node.outputs[1:]):
        raise UnsupportedOperatorError("training mode of BatchNormalization: export the model for inference")
    channels = x.dims[1] if x.rank > 1 else 1
    for i, what in enumerate(("scale", "bias", "mean", "variance"), 1):
        same_dim(need_rank(node.input(i), 1, 1, what=what).dims[0], channels, f"{what} against the channels")
    return [x]


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
