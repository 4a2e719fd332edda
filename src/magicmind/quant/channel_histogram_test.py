"""Histograms by channel against those of the scaled values themselves."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.quant.channel_histogram import ChannelHistogram
from magicmind.quant.histogram import Histogram
from magicmind.quant.scales import find_scale

RNG = np.random.default_rng(0)
SIZES = np.array([1e-3, 1.0, 40.0, 0.0], np.float32).reshape(1, 4, 1, 1)


@pytest.mark.parametrize("relu", [True, False])
def test_the_scale_is_that_of_the_scaled_values(relu: bool) -> None:
    seen = ChannelHistogram(4)
    factors = np.array([1000.0, 2.0, 0.1, 5.0])
    wanted = Histogram()
    for size in (1.0, 0.2, 3.0):
        x = (RNG.standard_normal((2, 4, 30, 30)) * SIZES * size).astype(np.float32)
        x = np.maximum(x, 0) if relu else x
        seen.add(x)
        wanted.add((x * factors.reshape(1, 4, 1, 1)).astype(np.float32))
    found = seen.scaled(factors)
    assert (found.total, found.zeros) == (wanted.total, wanted.zeros)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.counts.sum() == pytest.approx(wanted.counts.sum())
    for algorithm in ("linear", "eqnm"):
        assert find_scale(found, algorithm).scale == pytest.approx(find_scale(wanted, algorithm).scale, rel=0.03)
    assert seen.nonzero[3] == 0


@pytest.mark.parametrize("x", [np.zeros((0, 2, 3), np.float32), np.zeros((1, 2, 3), np.float32)])
def test_nothing_but_zeros(x: np.ndarray) -> None:
    seen = ChannelHistogram(2)
    seen.add(x)
    found = seen.scaled(np.ones(2))
    assert found.total == x.size and not found.counts.any()
    assert find_scale(found, "eqnm").scale == pytest.approx(1 / 255)
