"""Seeded random weights that keep the second moment of activations: no layer meets denormals or infinities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def weights(rng: np.random.Generator, shape: Sequence[int], terms: int, gain: float = 1.0) -> Array:
    """Weights of sums of so many terms: the second moment of the sums is that of the input, times gain squared."""
    return rng.normal(0.0, gain / math.sqrt(terms), shape).astype(np.float32)


def bias(rng: np.random.Generator, count: int) -> Array:
    """Small biases."""
    return rng.normal(0.0, 0.05, count).astype(np.float32)


def normalisation(rng: np.random.Generator, channels: int, moment: float) -> tuple[Array, Array, Array, Array]:
    """gamma, beta, mean, variance for sums of this second moment, near the true ones: the result is about N(0, 1)."""
    gamma, beta = rng.uniform(0.8, 1.2, channels), rng.normal(0.0, 0.1, channels)
    mean = rng.normal(0.0, 0.1 * math.sqrt(moment), channels)
    variance = moment * rng.uniform(0.7, 1.3, channels)
    a, b, c, d = (x.astype(np.float32) for x in (gamma, beta, mean, variance))
    return a, b, c, d
