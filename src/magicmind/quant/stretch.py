"""Channels that a depthwise convolution reads are stretched to one range before they become integers.

A depthwise convolution has a scale per channel for its weights, and so may have one for its input at no cost: channel
c of the convolution before it is multiplied by f_c, about R / r_c, its own channel divided by it, r_c being the largest
magnitude of the channel and R that of all. A scale for all channels then wastes no steps on any of them. (As
per-channel quantisation of activations; Nagel et al. 2021, "A White Paper on Neural Network Quantization", 4.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir

from magicmind.ir.attributes import attribute
from magicmind.quant.equalise import pairs_of
from magicmind.quant.observe import Observed
from magicmind.quant.scales import TensorScale, scale_of

Array = np.ndarray[Any, np.dtype[Any]]

MARGIN = 1.5
"""Channels keep so much room: what one showed of itself in a few samples is not all that it has."""
BOUND = 16.0
"""No factor beyond, for the same reason."""


@dataclass(frozen=True)
class Stretched:
    """The factors of a tensor's channels, and the scale for all of them afterwards."""

    factors: Array
    scale: TensorScale


def stretched(graph: onnx_ir.Graph, seen: Mapping[str, Observed], symmetric: bool) -> dict[str, Stretched]:
    """What to do with the tensors between a convolution and a depthwise one, by name."""
    found = {}
    for pair in pairs_of(graph):
        observed = seen.get(pair.between)
        if attribute(pair.second, "group", 1) > 1 and observed is not None:
            entry = _stretch(observed, symmetric)
            if entry is not None:
                found[pair.between] = entry
    return found


def _stretch(seen: Observed, symmetric: bool) -> Stretched | None:
    """None where nothing was seen but zeros."""
    if seen.lows is None or seen.highs is None:
        return None
    reach = np.maximum(-seen.lows, seen.highs).astype(np.float64)
    if reach.max() <= 0:
        return None
    largest = reach.max()
    factors = np.clip(largest / np.where(reach > 0, reach, largest) / MARGIN, 1.0, BOUND)
    factors = factors.astype(np.float32).astype(np.float64)  # as they are saved
    low, high = float((seen.lows * factors).min()), float((seen.highs * factors).max())
    scale = scale_of(low, high, symmetric=symmetric, algorithm="stretched")
    return Stretched(factors, replace(scale, seen=(low, high)))
