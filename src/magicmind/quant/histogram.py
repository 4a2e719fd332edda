"""A histogram over a stream: it covers what it has seen by doubling its range.

Bins have the width 2^k and begin at multiples of it, so doubling joins pairs of bins exactly: the result does not
depend on the order of the samples, nor on how they were split. Exact zeros are counted apart: quantisation leaves them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magicmind.quant.count import count, ends, no_counts

Array = np.ndarray[Any, np.dtype[Any]]

HALF = 4096
"""Bins on each side of zero: 8 or more for every step of an 8-bit scale."""
_SMALLEST = -120
"""Exponent of the smallest width; what is smaller falls into the bins at zero."""


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
        (low,), (high,) = ends(values)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        self.total += values.size
        if low == high == 0:
            self.zeros += values.size
            return
        self.cover(max(-low, high))
        counted = no_counts(1, HALF)
        count(values, np.array([self.width]), counted)
        counts = counted[0, : 2 * HALF]
        self.counts += counts
        self.zeros += values.size - int(counts.sum())

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
    def peak(self) -> float:
        """The largest magnitude, 0 of none."""
        return max(-self.low, self.high) if self.total else 0.0

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
