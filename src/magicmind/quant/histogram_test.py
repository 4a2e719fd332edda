"""The histogram that grows."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.quant.histogram import HALF, Histogram

RNG = np.random.default_rng(0)


def filled(*parts: np.ndarray) -> Histogram:
    seen = Histogram()
    for part in parts:
        seen.add(part)
    return seen


def test_the_order_and_the_split_of_samples_do_not_matter() -> None:
    values = [(RNG.standard_normal(1000) * 10.0**e).astype(np.float32) for e in (-3, 0, 2, -1)]
    once, parts, reversed_ = filled(np.concatenate(values)), filled(*values), filled(*values[::-1])
    for other in (parts, reversed_):
        assert other.width == once.width
        np.testing.assert_array_equal(other.counts, once.counts)
    assert once.counts.sum() + once.zeros == once.total == 4000


def test_counts_are_those_of_numpy() -> None:
    values = RNG.standard_normal(5000).astype(np.float32)
    seen = filled(values)
    edges = np.arange(-HALF, HALF + 1) * seen.width
    np.testing.assert_array_equal(seen.counts, np.histogram(values, edges)[0])
    assert HALF // 2 * seen.width < np.abs(values).max() <= HALF * seen.width


def test_zeros_are_counted_apart() -> None:
    seen = filled(np.array([0, -0.0, 1, 0], np.float32))
    assert (seen.zeros, seen.total, seen.counts.sum()) == (3, 4, 1)
    only = filled(np.zeros(7, np.float32))
    assert (only.width, only.low, only.high, only.zeros) == (0.0, 0.0, 0.0, 7)


def test_ends_of_the_range_and_tiny_numbers_are_in_it() -> None:
    seen = filled(np.array([-1.0, 1.0, 1e-42], np.float32))
    assert seen.counts[0] + seen.counts[1] == 1 and seen.counts[-1] == 1 and seen.counts[HALF] == 1
    tiny = filled(np.array([1e-42], np.float32))
    assert tiny.counts[HALF] == 1


@pytest.mark.parametrize(("bad", "text"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_what_is_not_finite_is_refused_and_not_counted(bad: float, text: str) -> None:
    seen = Histogram()
    with pytest.raises(ValueError, match=text):
        seen.add(np.array([1, bad], np.float32))
    assert seen.total == 0


def test_quantiles() -> None:
    values = RNG.permutation(np.arange(1, 10_001, dtype=np.float32))
    seen = filled(values)
    assert abs(seen.quantile(0.99) - 9900) <= seen.width
    assert seen.quantile(1.0) == 10_000
