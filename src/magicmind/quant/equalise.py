"""Cross-layer equalisation: channels between two convolutions are scaled so that none has few steps to itself.

For f > 0, relu(f x) = f relu(x): channel i of the first convolution may be multiplied by f_i and of the second one
divided by it. f_i = sqrt(r2_i / r1_i), the r being the largest weights of the channel, makes both ranges equal (Nagel
et al. 2019). Depthwise networks need it where weights have one scale. Clip(x, 0, c) becomes min(relu(x), c f_i): the
result is the same network in float.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir

from magicmind.ir.types import const_of
from magicmind.passes.edit import only_user
from magicmind.quant.channels import inputs_of, is_homogeneous, is_plain, scale_channels

Array = np.ndarray[Any, np.dtype[Any]]

_ROUNDS = 20
_SETTLED = 0.01
_BOUND = 1e3
"""No factor beyond: a channel of tiny weights is noise, not a reason to blow up its neighbour."""


@dataclass(frozen=True)
class Pair:
    """Two convolutions of which the second alone reads the first, by an activation at most."""

    first: onnx_ir.Node
    activation: onnx_ir.Node | None
    second: onnx_ir.Node

    @property
    def between(self) -> str:
        """The tensor that the second reads."""
        value = self.second.inputs[0]
        assert value is not None
        return value.name or ""


def equalise(model: onnx_ir.Model) -> int:
    """Scales the weights in place; the number of pairs."""
    pairs = list(pairs_of(model.graph))
    weights = {node: _weights(node) for pair in pairs for node in (pair.first, pair.second)}
    factors = {pair.first: np.ones(weights[pair.first].shape[0]) for pair in pairs}
    for _ in range(_ROUNDS):
        largest = 1.0
        for pair in pairs:
            step = _balance(weights, pair)
            factors[pair.first] *= step
            largest = max(largest, float(np.maximum(step, 1 / step).max()))
        if largest < 1.0 + _SETTLED:
            break
    scale_channels(model, {pair.between: factors[pair.first] for pair in pairs})
    return len(pairs)


def pairs_of(graph: onnx_ir.Graph) -> Iterator[Pair]:
    """All pairs, in the order of the graph."""
    for first in graph:
        if not is_plain(first):
            continue
        after = only_user(first.outputs[0])
        activation = after if after is not None and is_homogeneous(after) else None
        second = only_user(activation.outputs[0]) if activation is not None else after
        between = first.outputs[0] if activation is None else activation.outputs[0]
        if second is None or not is_plain(second) or second.inputs[0] is not between:
            continue
        if len(inputs_of(second, _weights(second))) == _weights(first).shape[0]:
            yield Pair(first, activation, second)


def _balance(weights: dict[onnx_ir.Node, Array], pair: Pair) -> Array:
    """The factors of one step, applied."""
    first, second = weights[pair.first], inputs_of(pair.second, weights[pair.second])
    r1, r2 = _peaks(first), _peaks(second)
    used = (r1 > 0) & (r2 > 0)
    factor = np.where(used, np.sqrt(np.where(used, r2, 1.0) / np.where(used, r1, 1.0)), 1.0)
    factor = np.clip(factor, 1 / _BOUND, _BOUND)
    _scale(first, second, factor)
    return factor


def _scale(first: Array, second: Array, factor: Array) -> None:
    """Multiplies [channel, ...] of the first, divides those of the second, in place."""
    first *= factor.reshape(-1, *[1] * (first.ndim - 1))
    second /= factor.reshape(-1, *[1] * (second.ndim - 1))


def _peaks(array: Array) -> Array:
    return np.asarray(np.abs(array).reshape(array.shape[0], -1).max(1))


def _weights(node: onnx_ir.Node) -> Array:
    array = const_of(node.inputs[1])
    assert array is not None
    return array.astype(np.float64)
