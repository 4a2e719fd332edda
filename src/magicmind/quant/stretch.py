"""Channels are stretched and shrunk so that one scale for a tensor, and one for an output of weights, fits all of them.

Channel c of a tensor may be multiplied by a factor f_c if what reads it is divided (`channels.py`). A step of the
tensor is as long as its widest channel asks, so weak channels should grow; weights that read a grown channel shrink
next to those of the others, and lose steps themselves. The factors are those of the least noise at the outputs,

    sum over tensors     gain_c / f_c^2 * (max_c f_c reach_c)^2 / (12 * 255^2)
    + sum over products  gain_o * max_c (w_oc / f_c)^2 * sum_c f_c^2 E[x_c^2] / (12 * 127^2)

where reach_c are the ends of a channel's values, and gains (`gains.py`) say what reaches the outputs. In log f it is
convex where the largest are taken by a smooth norm, so descent finds the least. (As per-channel quantisation of
activations, Nagel et al. 2021, "A White Paper on Neural Network Quantization", 4; and the shift of difficulty to
weights, Xiao et al. 2023, "SmoothQuant".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir

from magicmind.ir.attributes import attribute
from magicmind.ir.types import const_of
from magicmind.quant.channels import FIXED, by_channel, is_plain
from magicmind.quant.gains import power_gains
from magicmind.quant.observe import Observed

Array = np.ndarray[Any, np.dtype[Any]]
Classes = Mapping[onnx_ir.Value, Array]

BOUND = 16.0
"""Channels count as if they reached at least such a part of the tensor's range: what one showed of itself in a few
samples is not all that it has."""
_NORM = 16
"""The power of the norm that stands for the largest."""
_ROUNDS = 120
_RATE = 0.1


def stretched(
    graph: onnx_ir.Graph,
    classes: Classes,
    scaled: Sequence[onnx_ir.Value],
    seen: Mapping[str, Observed],
    symmetric: bool,
) -> Array:
    """The factor of every class of channels; 1 for those that nothing is known about."""
    if not classes:
        return np.ones(1)
    count = 1 + max(int(row.max(initial=0)) for row in classes.values())
    gains = power_gains(graph, seen)
    tensors = [t for v in scaled if (t := _tensor(v, classes, gains, seen, symmetric)) is not None]
    products = [p for node in graph if (p := _product(node, classes, gains, seen)) is not None]
    if not tensors:
        return np.ones(count)
    return _descend(_Activations(tensors), _Weights(products), count)


@dataclass(frozen=True)
class _Tensor:
    """Of each channel of a tensor that is quantised: class, ends below and above zero, gain of its noise."""

    classes: Array
    lows: Array
    highs: Array
    gains: Array


@dataclass(frozen=True)
class _Product:
    """Of each input channel of a product: class, E[x^2], and the weights' size to the power of the norm."""

    classes: Array
    power: Array
    weights: Array
    gain: float


def _gain(gains: Mapping[onnx_ir.Value, Array], value: onnx_ir.Value, count: int) -> Array | None:
    gain = gains.get(value)
    row = None if gain is None else by_channel(gain)
    if gain is None:
        return None
    row = gain.mean(axis=(0, *range(2, gain.ndim))) if row is None else row
    return np.broadcast_to(row, (count,))


def _tensor(
    value: onnx_ir.Value,
    classes: Classes,
    gains: Mapping[onnx_ir.Value, Array],
    seen: Mapping[str, Observed],
    symmetric: bool,
) -> _Tensor | None:
    observed = seen.get(value.name or "")
    channels = None if observed is None else observed.channels
    if channels is None or not channels.total or value not in classes:
        return None
    gain = _gain(gains, value, channels.channels)
    lows, highs = np.maximum(-channels.lows, 0), np.maximum(channels.highs, 0)
    if gain is None or max(lows.max(), highs.max()) <= 0:
        return None
    if symmetric and lows.max() > 0:
        lows = highs = np.maximum(lows, highs)
    return _Tensor(
        classes[value], _raised(lows, channels.nonzero), _raised(highs, channels.nonzero), gain * channels.nonzero
    )


def _raised(ends: Array, nonzero: Array) -> Array:
    """Ends that are at least `1 / BOUND` of the largest, but for channels that are always zero."""
    return np.where(nonzero > 0, np.maximum(ends, ends.max() / BOUND), 0.0)


def _product(
    node: onnx_ir.Node, classes: Classes, gains: Mapping[onnx_ir.Value, Array], seen: Mapping[str, Observed]
) -> _Product | None:
    """None for depthwise convolutions, too: their weights have a scale for each channel."""
    value = node.inputs[0] if node.inputs else None
    if value is None or not is_plain(node) or attribute(node, "group", 1) > 1 or value not in classes:
        return None
    weights, observed = const_of(node.inputs[1]), seen.get(value.name or "")
    power = None if observed is None else observed.power
    if weights is None or power is None or not (peak := float(np.abs(weights).max(initial=0))):
        return None
    gain = _gain(gains, node.outputs[0], weights.shape[0])
    if gain is None or len(classes[value]) != weights.shape[1]:
        return None
    sizes = (np.abs(weights.astype(np.float64)) / peak).reshape(*weights.shape[:2], -1)
    per_input = np.average(_power(sizes).max(2), axis=0, weights=np.maximum(gain, gain.max() * 1e-9))
    taps = sizes.shape[2]
    return _Product(classes[value], power, per_input, float(gain.sum()) * taps * peak**2)


def _power(x: Array) -> Array:
    """x to the power of the norm, by squaring."""
    for _ in range(_NORM.bit_length() - 1):
        x = x * x
    return x


class _Segments:
    """Rows of different length in one array, summed row by row."""

    def __init__(self, rows: Sequence[Array]) -> None:
        lengths = [len(row) for row in rows]
        self.starts = np.cumsum([0, *lengths[:-1]])
        self.of = np.repeat(np.arange(len(rows)), lengths)

    def sum(self, x: Array) -> Array:
        return np.add.reduceat(x, self.starts)

    def norm(self, x: Array) -> tuple[Array, Array]:
        """The norm of each row, and the share of each element in its power."""
        top = np.maximum(np.maximum.reduceat(x, self.starts), 1e-300)
        powers = _power(x / top[self.of])
        sums = self.sum(powers)
        return np.where(sums > 0, top * sums ** (1 / _NORM), 0.0), powers / np.where(sums > 0, sums, 1)[self.of]


class _Activations:
    """The noise of quantised tensors."""

    def __init__(self, tensors: Sequence[_Tensor]) -> None:
        self.classes = np.concatenate([t.classes for t in tensors])
        self._lows = np.concatenate([t.lows for t in tensors])
        self._highs = np.concatenate([t.highs for t in tensors])
        self._gains = np.concatenate([t.gains for t in tensors])
        self._rows = _Segments([t.classes for t in tensors])

    def slope(self, factors: Array) -> tuple[float, Array]:
        """The noise, and its derivative by the log of each element's factor."""
        f, rows = factors[self.classes], self._rows
        low, share_low = rows.norm(self._lows * f)
        high, share_high = rows.norm(self._highs * f)
        width, each = low + high, self._gains / f**2
        total = rows.sum(each)
        moved = low[rows.of] * share_low + high[rows.of] * share_high
        slope = 2 * width[rows.of] * (moved * total[rows.of] - width[rows.of] * each)
        return float((width**2 * total).sum()) / (12 * 255**2), slope / (12 * 255**2)


class _Weights:
    """The noise of rounding weights."""

    def __init__(self, products: Sequence[_Product]) -> None:
        empty = np.zeros(0)
        self.classes = np.concatenate([empty.astype(np.int64), *(p.classes for p in products)])
        self._power = np.concatenate([empty, *(p.power for p in products)])
        self._weights = np.concatenate([empty, *(p.weights for p in products)])
        self._gains = np.array([p.gain for p in products])
        self._rows = _Segments([p.classes for p in products]) if products else None

    def slope(self, factors: Array) -> tuple[float, Array]:
        """As of `_Activations`."""
        rows = self._rows
        if rows is None:
            return 0.0, np.zeros(0)
        f = factors[self.classes]
        reach = self._weights / _power(f)
        largest = rows.sum(reach)
        share = reach / np.where(largest > 0, largest, 1)[rows.of]
        step = self._gains * largest ** (2 / _NORM) / (12 * 127**2)
        each = f**2 * self._power
        total = rows.sum(each)
        return float((step * total).sum()), 2 * step[rows.of] * (each - share * total[rows.of])


def _descend(activations: _Activations, weights: _Weights, count: int) -> Array:
    """The factors of least noise, by steps of a size of their own for each class (Kingma and Ba 2015, "Adam")."""
    log, mean, square = np.zeros(count), np.zeros(count), np.zeros(count)
    for i in range(_ROUNDS):
        factors = np.exp(log)
        noise, slope = 0.0, np.zeros(count)
        for part in (activations, weights):
            of_part, by_element = part.slope(factors)
            noise += of_part
            slope += np.bincount(part.classes, by_element, minlength=count)
        slope /= noise or 1.0
        slope[FIXED] = 0.0
        mean = 0.9 * mean + 0.1 * slope
        square = 0.99 * square + 0.01 * slope**2
        expected = np.sqrt(square / (1 - 0.99 ** (i + 1)))
        rate = _RATE * (0.02 + 0.98 * (1 - i / _ROUNDS))
        log -= rate * np.divide(mean / (1 - 0.9 ** (i + 1)), expected, out=np.zeros(count), where=expected > 1e-150)
        np.clip(log, -np.log(BOUND), np.log(BOUND), out=log)
    return np.exp(log).astype(np.float32).astype(np.float64)  # as they are saved
