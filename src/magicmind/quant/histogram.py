"""A histogram over a stream: it covers what it has seen by doubling its range.

Bins have the width 2^k and begin at multiples of it, so doubling joins pairs of bins exactly: the result does not
depend on the order of the samples, nor on how they were split. Exact zeros are counted apart: quantisation leaves them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

HALF = 4096
"""Bins on each side of zero: 8 or more for every step of an 8-bit scale."""
_SMALLEST = -120
"""Exponent of the smallest width; what is smaller falls into the bins at zero."""


def finite_range(values: Array) -> tuple[float, float]:
    """The smallest and the largest value, (0, 0) of none. Raises ValueError for NaN and infinity."""
    if values.size == 0:
        return 0.0, 0.0
    low, high = float(values.min()), float(values.max())  # NaN passes through both
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("NaN" if math.isnan(low) or math.isnan(high) else "infinity")
    return low, high


@dataclass
class Histogram:
    """Counts of the values of one tensor. `width`: of a bin, 0 as long as only zeros were seen."""

    width: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    zeros: int = 0
    total: int = 0
    counts: Array = field(default_factory=lambda: np.zeros(2 * HALF, np.int64))

    def add(self, values: Array) -> None:
        """Counts finite float32 values of any shape. Raises ValueError for NaN and infinity; none is counted then."""
        if values.size == 0:
            return
        low, high = finite_range(values)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.total += values.size
        zeros = values.size - int(np.count_nonzero(values))
        self.zeros += zeros
        if zeros == values.size:
            return
        self.cover(max(-low, high))
        index = np.floor(values.reshape(-1) * np.float32(1.0 / self.width)).astype(np.int32)
        index += HALF
        np.clip(index, 0, 2 * HALF - 1, out=index)  # the upper end itself, and half a bin of -0.0
        self.counts += np.bincount(index, minlength=2 * HALF)
        self.counts[HALF] -= zeros

    def cover(self, peak: float) -> None:
        """Doubles the width until `peak` is inside."""
        needed = 2.0 ** max(math.ceil(math.log2(peak)) - int(math.log2(HALF)), _SMALLEST)
        if self.width == 0.0:
            self.width = needed
        while self.width < needed:
            joined = self.counts.reshape(HALF, 2).sum(1)
            self.counts[:] = 0
            self.counts[HALF // 2 : HALF // 2 + HALF] = joined
            self.width *= 2.0

    @property
    def centres(self) -> Array:
        """The middle of every bin."""
        return (np.arange(-HALF, HALF) + 0.5) * self.width

    def filled(self) -> tuple[Array, Array]:
        """(centres, counts) of the bins that are not empty; exact zeros are in none."""
        at = np.flatnonzero(self.counts)
        return self.centres[at], self.counts[at]

    def quantile(self, share: float) -> float:
        """A value that `share` of all values do not exceed, up to the width of a bin, zeros included."""
        counts = self.counts.copy()
        counts[HALF] += self.zeros
        at = int(np.searchsorted(np.cumsum(counts), share * self.total))
        return float(np.clip((min(at, 2 * HALF - 1) - HALF + 1) * self.width, self.low, self.high))
