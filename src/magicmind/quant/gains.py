"""How much of a noise in a tensor reaches the outputs: power gains, estimated from weights alone.

The outputs' noise is measured by their own size. A convolution passes noise of input channel c to output o by
sum W[o, c]^2; activations by the share of values they let pass; sums, concatenations and moves as they are. Noises are
taken to be independent. What is not known here passes its mean gain to all of its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir

from magicmind.ir.attributes import attribute
from magicmind.ir.types import const_of, type_of
from magicmind.passes.edit import is_op
from magicmind.passes.merge_reshapes import RESHAPES
from magicmind.quant.channels import by_channel, is_homogeneous, is_plain, source_elements, spread
from magicmind.quant.kinds import is_float, is_mover
from magicmind.quant.observe import Observed

Array = np.ndarray[Any, np.dtype[Any]]


def power_gains(graph: onnx_ir.Graph, seen: Mapping[str, Observed]) -> dict[onnx_ir.Value, Array]:
    """By value, what a noise of power 1 in each element of a channel adds to the outputs; broadcasts to [N, C, ...]."""
    gains: dict[onnx_ir.Value, Array] = {}
    for value in graph.outputs:
        peak = seen[value.name or ""].peak if value.name in seen else 0.0
        gains[value] = np.full((1, 1), 1.0 / peak**2 if peak else 1.0)
    for node in reversed(list(graph)):
        found = [gains[v] for v in node.outputs if v in gains]
        if not found:
            continue
        for value, gain in _of_inputs(node, found, gains, seen):
            if is_float(value):
                gains[value] = gains[value] + gain if value in gains else gain
    return gains


def _of_inputs(
    node: onnx_ir.Node, found: list[Array], gains: Mapping[onnx_ir.Value, Array], seen: Mapping[str, Observed]
) -> list[tuple[onnx_ir.Value, Array]]:
    values = [value for value in node.inputs if value is not None]
    gain, first = found[0], values[0] if values else None
    if first is None:
        return []
    if is_plain(node):
        return [(first, _through_conv(node, gain))]
    if is_homogeneous(node):
        channels = seen[node.outputs[0].name or ""].channels if node.outputs[0].name in seen else None
        return [(first, gain if channels is None or gain.ndim < 2 else gain * spread(channels.nonzero, gain.ndim))]
    if is_op(node, "MaxPool", "AveragePool", "GlobalAveragePool", "Resize"):
        return [(first, _mean_by_channel(gain) * _through_pool(node))]
    if is_op(node, "Concat"):
        parts = _parts(node, gain)
        if parts is not None:
            return list(zip(values, parts, strict=True))
    if is_mover(node) and len(found) == len(node.outputs):
        moved = _moved(node, found)
        if moved is not None:
            return [(first, moved)]
    if is_op(node, "Add", "Clip", "LeakyRelu", "Sigmoid", "HardSwish"):
        same = [v for v in values if _shape(v) == _shape(node.outputs[0])]
        return [(v, gain) for v in same]
    return [(value, np.full((1, 1), sum(float(g.mean()) for g in found))) for value in values]


def _through_conv(node: onnx_ir.Node, gain: Array) -> Array:
    weights = const_of(node.inputs[1])
    assert weights is not None
    squares = (weights.astype(np.float64) ** 2).reshape(*weights.shape[:2], -1).sum(2)
    row = np.broadcast_to(_mean_by_channel(gain).reshape(-1), (weights.shape[0],))
    groups = attribute(node, "group", 1)
    before = row @ squares if groups == 1 else (row * squares[:, 0]).reshape(groups, -1).sum(1)
    return spread(before / np.prod(attribute(node, "strides", None) or [1]), weights.ndim)


def _through_pool(node: onnx_ir.Node) -> float:
    """Elements of the output that an element of the input shows in, by the square of its share."""
    if is_op(node, "MaxPool"):
        return float(1.0 / np.prod(attribute(node, "strides", None) or [1]))
    if is_op(node, "AveragePool"):
        taken = np.prod(attribute(node, "kernel_shape", None))
        return float(1.0 / (np.prod(attribute(node, "strides", None) or [1]) * taken))
    sizes = [_shape(value) for value in (node.inputs[0], node.outputs[0])]
    if any(size is None or not all(isinstance(n, int) for n in size) for size in sizes):
        return 1.0
    before, after = (float(np.prod([n for n in size or () if isinstance(n, int)])) for size in sizes)
    return after / before if is_op(node, "Resize") else (after / before) ** 2


def _mean_by_channel(gain: Array) -> Array:
    return np.asarray(gain.mean(axis=(0, *range(2, gain.ndim)), keepdims=True)) if gain.ndim > 2 else gain


def _parts(node: onnx_ir.Node, gain: Array) -> list[Array] | None:
    """The gain of every part of a concatenation along the channels; None where it is not known."""
    shapes = [_shape(value) for value in node.inputs]
    axis = attribute(node, "axis", 1)
    if any(shape is None or not isinstance(shape[axis], int) for shape in shapes):
        return None
    counts = [shape[axis] for shape in shapes if shape is not None]
    sizes = [n for n in counts if isinstance(n, int)]
    axis = axis % len(shapes[0] or ())
    if gain.ndim <= axis or gain.shape[axis] == 1:
        return [gain for _ in sizes]
    return np.split(gain, np.cumsum(sizes)[:-1], axis)


def _moved(node: onnx_ir.Node, found: list[Array]) -> Array | None:
    if found[0].size == 1 and is_op(node, *RESHAPES, "Transpose", "Identity"):
        return found[0].reshape(1, 1)  # every element stays, with the gain of all of them
    elements, shape = source_elements(node), _shape(node.inputs[0])
    if elements is None or shape is None:
        return None
    sizes = [int(n) for n in shape if isinstance(n, int)]
    total = np.zeros(int(np.prod(sizes)))
    for at, gain in zip(elements, found, strict=True):
        full = np.full(at.shape, gain.mean()) if gain.ndim != at.ndim else np.broadcast_to(gain, at.shape)
        total += np.bincount(at.reshape(-1), full.reshape(-1), minlength=total.size)
    whole = total.reshape(sizes)
    row = by_channel(whole)
    return whole if row is None else spread(row, whole.ndim)


def _shape(value: onnx_ir.Value | None) -> Any:
    type_ = None if value is None else type_of(value)
    return None if type_ is None else type_.shape
