"""Weights as integers: symmetric, w = q * scale with q in [-127, 127] or [-32767, 32767].

One scale for all, or one per output channel. What rounding does to the mean of the outputs, sum (w - q * scale) * E[x],
is known from the means of the inputs and goes into the bias (Nagel et al. 2019, "Data-Free Quantization Through Weight
Equalization and Bias Correction").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir

from magicmind.ir.attributes import attribute
from magicmind.ir.types import const_of
from magicmind.quant.kinds import weight_of

Array = np.ndarray[Any, np.dtype[Any]]

_LARGEST_BIAS = 2.0**30
"""In units of input scale times weight scale: sums have 31 bits."""
_FINEST_BIAS = 2.0**20
"""The same of channels whose weights are all zero, which only have their bias."""


@dataclass(frozen=True)
class QuantisedWeights:
    """`values` int8 or int16, `scale` float32: () or [channels] along `axis`."""

    values: Array
    scale: Array
    axis: int

    def dequantised(self) -> Array:
        """In float64."""
        scale = self.scale.astype(np.float64)
        if scale.ndim:
            scale = scale.reshape([-1 if i == self.axis else 1 for i in range(self.values.ndim)])
        return self.values * scale


def output_axis(node: onnx_ir.Node, rank: int) -> int:
    """The axis of a product's weights that counts its outputs (of a group, where a transposed convolution has some)."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        return 0
    return rank - 1 if node.op_type == "MatMul" else 1


def quantise_weights(
    weights: Array, axis: int, *, bits: int, per_axis: bool, bias: Array | None = None, input_scale: float = 1.0
) -> QuantisedWeights:
    """Rounds half to even. `bias`, of as many elements as the axis or one, bounds the scales from below: in units of
    `input_scale * scale` it has to fit into a sum. Raises ValueError for weights that are not finite."""
    if not np.isfinite(weights).all():
        raise ValueError("NaN or infinity")
    limit = 127 if bits == 8 else 32767
    others = tuple(i for i in range(weights.ndim) if i != axis) if per_axis else None
    peak = np.abs(weights.astype(np.float64)).max(axis=others, initial=0.0)
    offset = np.zeros_like(peak)
    if bias is not None and bias.size in (1, peak.size):
        offset = np.broadcast_to(np.abs(bias.astype(np.float64)).reshape(-1), peak.shape or (bias.size,))
        offset = offset if peak.shape else offset.max()
    scale = np.maximum(peak / limit, offset / (input_scale * _LARGEST_BIAS))
    unused = np.where(offset > 0, offset / (input_scale * _FINEST_BIAS), 1.0)
    scale = np.where(peak == 0, unused, scale).astype(np.float32)
    shown = scale.astype(np.float64)
    if per_axis:
        shown = shown.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
    values = np.clip(np.rint(weights / shown), -limit, limit).astype(np.int8 if bits == 8 else np.int16)
    return QuantisedWeights(values, scale, axis)


def mean_error(node: onnx_ir.Node, quantised: QuantisedWeights, means: Array | None) -> Array | None:
    """What quantising a product's weights takes from the mean of each of its outputs; None where it is not known."""
    weight = weight_of(node)
    weights = None if weight is None else const_of(weight)
    if weights is None or means is None:
        return None
    error = weights.astype(np.float64) - quantised.dequantised()
    if node.op_type == "Conv":
        per_group = error.reshape(*error.shape[:2], -1).sum(2)  # [out, in per group]
        groups = attribute(node, "group", 1)
        grouped = np.repeat(means.reshape(groups, -1), error.shape[0] // groups, axis=0)
        return np.asarray((per_group * grouped).sum(1))
    if node.op_type == "Gemm" and not attribute(node, "transA", 0):
        matrix = error.T if attribute(node, "transB", 0) else error
        return np.asarray((means @ matrix) * attribute(node, "alpha", 1.0))
    if node.op_type == "MatMul" and error.ndim == 2:
        return np.asarray(means @ error)
    return None
