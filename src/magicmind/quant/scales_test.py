"""From histograms to scales."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.errors import PrecisionError
from magicmind.quant.histogram import Histogram
from magicmind.quant.scales import ALGORITHMS, TensorScale, divergence, find_scale, scale_of

RNG = np.random.default_rng(0)


def seen(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(values.astype(np.float32))
    return histogram


@pytest.mark.parametrize(
    ("low", "high", "symmetric", "expected"),
    [
        (0.0, 2.55, False, (0.01, 0)),
        (-1.0, 1.55, False, (0.01, 100)),
        (-2.55, 0.0, False, (0.01, 255)),
        (1.0, 2.55, False, (0.01, 0)),  # zero has to be in it
        (-1.27, 0.5, True, (0.01, 128)),
        (0.0, 2.55, True, (0.01, 0)),
        (0.0, 0.0, False, (1 / 255, 0)),
        (0.0, 0.0, True, (1 / 255, 0)),
    ],
)
def test_bytes_of_a_range(low: float, high: float, symmetric: bool, expected: tuple[float, int]) -> None:
    scale = scale_of(low, high, symmetric=symmetric)
    assert scale.scale == pytest.approx(expected[0], rel=1e-6)
    assert scale.zero == expected[1]
    assert scale.dtype == "uint8"


def test_sixteen_bits_are_symmetric() -> None:
    scale = scale_of(-1.0, 3.2767, bits=16)
    assert (scale.dtype, scale.zero) == ("int16", 0)
    assert scale.scale == pytest.approx(1e-4)


@pytest.mark.parametrize("low", [-1e-3, -0.37, -5.0, 0.0])
def test_zero_is_exact_and_the_ends_are_half_a_step_away(low: float) -> None:
    scale = scale_of(low, 1.0)
    assert scale.round_trip(np.zeros(1))[0] == 0.0
    for end in (low, 1.0):
        assert abs(scale.round_trip(np.array([end]))[0] - end) <= 0.5001 * scale.scale


def test_tiny_ranges_have_a_scale_that_can_be_multiplied() -> None:
    scale = scale_of(-1e-40, 1e-40)
    assert np.float32(scale.scale) ** 2 >= 0 and scale.scale > 1e-31


@pytest.mark.parametrize("ends", [(np.nan, 1.0), (0.0, np.inf), (2.0, 1.0)])
def test_no_range(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="is no range"):
        scale_of(*ends)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_constants_are_exact(algorithm: str) -> None:
    for value in (3.0, -0.7, 0.0):
        scale = find_scale(seen(np.full(100, value)), algorithm)
        assert scale.round_trip(np.array([value]))[0] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_evenly_spread_values_keep_their_range(algorithm: str, symmetric: bool) -> None:
    scale = find_scale(seen(RNG.uniform(-1, 1, 100_000)), algorithm, symmetric=symmetric)
    assert 0.95 <= scale.high <= 1.0 and -1.0 <= scale.low <= -0.95


def test_eqnm_has_the_least_noise() -> None:
    values = np.concatenate([RNG.standard_normal(100_000), [20.0]])
    noise = {}
    for algorithm in ALGORITHMS:
        scale = find_scale(seen(values), algorithm)
        noise[algorithm] = float(((scale.round_trip(values) - values) ** 2).sum())
    assert min(noise, key=lambda name: noise[name]) == "eqnm"
    assert noise["eqnm"] < 0.97 * noise["linear"]


def test_percentile_and_entropy_leave_outliers_out() -> None:
    values = np.concatenate([np.maximum(RNG.standard_normal(1_000_000), 0), [100.0]])
    for algorithm in ("percentile", "entropy"):
        assert find_scale(seen(values), algorithm).high < 13
    assert find_scale(seen(values), "linear").high == 100


def test_divergence_is_zero_where_every_bin_is_a_step() -> None:
    scale = TensorScale(1.0, 0, "uint8", 0.0, 255.0, "range")
    x, counts = np.arange(256) * 1.0, RNG.integers(1, 9, 256)
    assert divergence(x, counts, scale) == pytest.approx(0.0, abs=1e-12)
    assert divergence(np.arange(300) * 1.0, np.ones(300), scale) > 0.01


def test_unknown_algorithm() -> None:
    with pytest.raises(PrecisionError, match=r"no calibration algorithm 'best'.*\n.*linear, eqnm"):
        find_scale(seen(np.ones(1)), "best")
