"""A histogram per channel over a stream, from which that of the tensor follows for any factors of its channels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magicmind.quant.count import count, ends, no_counts
from magicmind.quant.histogram import HALF, Histogram

Array = np.ndarray[Any, np.dtype[Any]]

_HALF = 128
"""Bins on each side of zero: at least 64 up to the largest magnitude of a channel."""
_PARTS = 8
"""A bin's values are taken to be spread over so many places in it: bins may be as wide as a step."""
_SMALLEST = -120


@dataclass
class ChannelHistogram:
    """Counts of the values of each channel; bins of channel c are `widths[c]` wide, a power of two that doubles.

    Exact zeros are in none of them; `total` is how many values a channel had.
    """

    channels: int
    _counted: Array = field(init=False)
    widths: Array = field(init=False)
    lows: Array = field(init=False)
    highs: Array = field(init=False)
    total: int = 0

    def __post_init__(self) -> None:
        self._counted = no_counts(self.channels, _HALF)
        self.widths = np.full(self.channels, 2.0**_SMALLEST)
        self.lows, self.highs = np.full(self.channels, math.inf), np.full(self.channels, -math.inf)

    def add(self, x: Array) -> None:
        """Counts finite float32 values [N, C, ...]. Raises ValueError for NaN and infinity; none is counted then."""
        if x.size == 0:
            return
        lows, highs = ends(x, axis=1)
        self.lows, self.highs = np.minimum(self.lows, lows), np.maximum(self.highs, highs)
        self._cover(np.maximum(-lows, highs))
        count(x, self.widths, self._counted, axis=1)
        self.total += x.size // self.channels

    def _cover(self, peaks: Array) -> None:
        """Doubles widths until the peaks are inside."""
        while (short := np.flatnonzero(peaks > self.widths * _HALF)).size:
            needed = 2.0 ** np.ceil(np.log2(peaks[short] / _HALF))
            empty = short[~self.counts[short].any(1)]
            self.widths[short] = np.where(np.isin(short, empty), np.maximum(needed, 2.0**_SMALLEST), self.widths[short])
            full = np.setdiff1d(short, empty)
            joined = self.counts[full].reshape(len(full), _HALF, 2).sum(2)
            self.counts[full] = 0
            self.counts[full, _HALF // 2 : _HALF // 2 + _HALF] = joined
            self.widths[full] *= 2.0

    @property
    def counts(self) -> Array:
        """By channel and bin."""
        return self._counted[:, : 2 * _HALF]

    @property
    def zeros(self) -> Array:
        """Exact zeros by channel."""
        zeros: Array = self.total - self.counts.sum(1)
        return zeros

    @property
    def peak(self) -> float:
        """The largest magnitude, 0 of none."""
        return float(max(-self.lows.min(), self.highs.max())) if self.total else 0.0

    @property
    def nonzero(self) -> Array:
        """The share of values that are not zero, by channel."""
        return 1.0 - self.zeros / max(self.total, 1)

    def scaled(self, factors: Array) -> Histogram:
        """The histogram of the tensor once its channels are multiplied by positive factors."""
        found = Histogram(total=self.total * self.channels, zeros=int(self.zeros.sum()))
        if not self.total:
            return found
        lows, highs = self.lows * factors, self.highs * factors
        found.low, found.high = float(lows.min()), float(highs.max())
        channel, bin_ = np.nonzero(self.counts)
        if not channel.size:
            return found
        inside = (np.arange(_PARTS) + 0.5) / _PARTS
        x = (bin_[:, None] - _HALF + inside) * (self.widths * factors)[channel, None]
        x = np.clip(x, lows[channel, None], highs[channel, None])
        found.cover(max(-found.low, found.high))
        at = np.clip(np.floor(x / found.width).astype(np.int64), -HALF, HALF - 1) + HALF
        each = np.broadcast_to(self.counts[channel, bin_][:, None] / _PARTS, at.shape)
        found.counts = np.bincount(at.reshape(-1), each.reshape(-1), minlength=2 * HALF)
        return found
