"""From what was observed of a tensor to its scale: linear, eqnm, percentile and entropy.

All choose a range [low, high] that contains zero, which so is exactly representable:
* linear: the smallest and the largest value seen;
* eqnm (equal to noise minimisation): the range with the least mean squared error of quantising, by search, where what
  is cut off counts `CLIPPED` times;
* percentile: without the largest `1 - p` share of values on either side;
* entropy: the range whose quantised distribution loses the least information (Kullback-Leibler divergence).

8 bits are uint8: asymmetric, scale = (high - low) / 255; symmetric, scale = max(-low, high) / 127 and zero point 128,
or max / 255 and 0 where the tensor is never negative. 16 bits are int16, symmetric, scale = max(-low, high) / 32767.
A tensor that was always zero has scale 1/255.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from magicmind.errors import PrecisionError
from magicmind.quant.histogram import Histogram

Array = np.ndarray[Any, np.dtype[Any]]
Range: TypeAlias = tuple[float, float]

PERCENTILE = 0.9999
CLIPPED = 4.0
"""Errors of rounding cancel in the sums behind them, those of values beyond the range all point one way; and data that
was not seen has more of these."""
_STEPS = 64
"""Ranges tried per search."""
_SMALLEST_SCALE = 2.0**-100
"""Scales below would make products of two of them denormal."""


@dataclass(frozen=True)
class TensorScale:
    """Real value = (integer - zero) * scale. `low`, `high`: the range it was made for; `seen`: the smallest and the
    largest value, where a search left some of them out that 16 bits have room for."""

    scale: float
    zero: int
    dtype: str
    low: float
    high: float
    algorithm: str
    seen: Range | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """The integers it may have."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def round_trip(self, x: Array) -> Array:
        """x quantised and back, in float64."""
        step = float(self.scale)
        return np.asarray((np.clip(np.rint(x / step) + self.zero, *self.limits) - self.zero) * step)


def scale_of(
    low: float, high: float, *, bits: int = 8, symmetric: bool = False, algorithm: str = "range"
) -> TensorScale:
    """The scale of a range, widened to contain zero. Raises ValueError for one that is not finite or empty."""
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"[{low}, {high}] is no range")
    low, high = min(low, 0.0), max(high, 0.0)
    peak = max(-low, high)
    if bits == 16:
        scale, zero, dtype = peak / 32767, 0, "int16"
    elif symmetric:
        scale, zero, dtype = (peak / 255, 0, "uint8") if low == 0.0 else (peak / 127, 128, "uint8")
    else:
        scale, dtype = (high - low) / 255, "uint8"
        zero = round(-low / scale) if scale > _SMALLEST_SCALE else 0
    if peak == 0.0:
        return TensorScale(float(np.float32(1 / 255)), 0, dtype, 0.0, 0.0, algorithm)
    return TensorScale(float(np.float32(max(scale, _SMALLEST_SCALE))), zero, dtype, low, high, algorithm)


def find_scale(seen: Histogram, algorithm: str, *, bits: int = 8, symmetric: bool = False) -> TensorScale:
    """The scale of a tensor with these values. Raises PrecisionError for an unknown algorithm."""
    search = algorithm_of(algorithm)
    if seen.total == 0 or (seen.low == 0.0 and seen.high == 0.0):
        return scale_of(0.0, 0.0, bits=bits, symmetric=symmetric, algorithm=algorithm)

    def make(low: float, high: float) -> TensorScale:
        return scale_of(low, high, bits=bits, symmetric=symmetric, algorithm=algorithm)

    # A step of 16 bits is finer than a bin, so a search has nothing to go by.
    low, high = (seen.low, seen.high) if bits == 16 else search(seen, make)
    return replace(make(low, high), seen=(seen.low, seen.high))


Make = Callable[[float, float], TensorScale]


def _linear(seen: Histogram, make: Make) -> Range:
    return seen.low, seen.high


def _percentile(seen: Histogram, make: Make) -> Range:
    return seen.quantile(1.0 - PERCENTILE), seen.quantile(PERCENTILE)


def _eqnm(seen: Histogram, make: Make) -> Range:
    x, counts = seen.filled()

    def noise(low: float, high: float) -> float:
        scale = make(low, high)
        error = scale.round_trip(x) - x
        clipped = np.abs(error) > 0.5001 * scale.scale
        return float(counts @ (np.where(clipped, CLIPPED, 1.0) * error**2))

    return _search(seen, noise)


def _entropy(seen: Histogram, make: Make) -> Range:
    x, counts = seen.filled()
    return _search(seen, lambda low, high: divergence(x, counts, make(low, high)))


def _search(seen: Histogram, cost: Callable[[float, float], float]) -> Range:
    """The range of least cost: both ends drawn in together, then each alone."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    shares = np.linspace(1.0, 1.0 / 8, _STEPS)
    low, high = min(((low * s, high * s) for s in shares), key=lambda r: cost(*r))
    if low < 0.0 < high:
        low = min((max(seen.low * s, seen.low) for s in shares), key=lambda v: cost(v, high))
        high = min((min(seen.high * s, seen.high) for s in shares), key=lambda v: cost(low, v))
    return low, high


def divergence(x: Array, counts: Array, scale: TensorScale) -> float:
    """KL(P || Q) in nats, `x` in ascending order. P: the values, those outside the range moved into its end bins;
    Q: the values inside, those of every step spread evenly over the bins of the step that hold any."""
    low, high = scale.limits
    first = int(np.searchsorted(x, (low - scale.zero - 0.5) * scale.scale))
    end = int(np.searchsorted(x, (high - scale.zero + 0.5) * scale.scale, side="right"))
    if first >= end:
        return math.inf
    inside = counts[first:end].astype(np.float64)
    p = inside.copy()
    p[0] += counts[:first].sum()
    p[-1] += counts[end:].sum()
    level = (np.clip(np.rint(x[first:end] / scale.scale) + scale.zero, low, high) - low).astype(np.int64)
    spread = np.bincount(level, inside)[level] / np.bincount(level)[level]
    p, q = p / p.sum(), spread / spread.sum()
    return float(np.sum(p * np.log(p / q)))


ALGORITHMS: dict[str, Callable[[Histogram, Make], Range]] = {
    "linear": _linear,
    "eqnm": _eqnm,
    "percentile": _percentile,
    "entropy": _entropy,
}


def algorithm_of(name: str) -> Callable[[Histogram, Make], Range]:
    """The search of this name. Raises PrecisionError."""
    if name not in ALGORITHMS:
        raise PrecisionError(f"there is no calibration algorithm {name!r}", hint=f"one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]
