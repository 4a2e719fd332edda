"""Statistics of the times of single calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

QUANTITIES = ("mean", "median", "p90", "p95", "p99", "min", "max")


def repeat(call: Callable[[], object], *, iterations: int | None, duration: float | None) -> list[float]:
    """Seconds of each call: `iterations` of them, or as many as begin within `duration` seconds (at least one)."""
    samples: list[float] = []
    begin = time.perf_counter()
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        samples.append(now - start)
        if len(samples) == iterations or (duration is not None and now - begin >= duration):
            return samples


def summary(samples: Sequence[float], batch: int) -> dict[str, float]:
    """Latencies in milliseconds under the names of QUANTITIES, and `throughput` in items per second.

    Throughput counts the time of the calls alone, one after the other.
    """
    milliseconds = 1e3 * np.asarray(samples, np.float64)
    p90, p95, p99 = np.percentile(milliseconds, (90, 95, 99))
    middle = np.median(milliseconds)
    values = (milliseconds.mean(), middle, p90, p95, p99, milliseconds.min(), milliseconds.max())
    result = {name: float(value) for name, value in zip(QUANTITIES, values, strict=True)}
    result["throughput"] = float(1e3 * batch * len(milliseconds) / milliseconds.sum())
    return result
