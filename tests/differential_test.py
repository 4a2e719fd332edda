"""Random graphs against onnx's reference evaluator; `python tools/fuzz.py` runs thousands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import hypothesis.strategies as st
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, note, settings

from magicmind.testing.differential import check
from magicmind.testing.random_graphs import Seeded, random_graph

T = TypeVar("T")


class Drawn:
    """Decisions by hypothesis, which then makes a failing graph smaller."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def pick(self, options: Sequence[T]) -> T:
        return options[self._data.draw(st.integers(0, len(options) - 1))]


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(st.data())
def test_graphs_that_hypothesis_draws(data: st.DataObject) -> None:
    graph = random_graph(Drawn(data), most=12)
    note(onnx.printer.to_text(graph.model()))
    verdict = check(graph)
    assert verdict.status in ("passed", "skipped", "unsupported"), verdict.reason


@pytest.mark.parametrize("seed", range(30))
def test_graphs_by_seed(seed: int) -> None:
    verdict = check(random_graph(Seeded(seed)), seed)
    assert verdict.status in ("passed", "skipped"), f"seed {seed}: {verdict.reason}"


def test_a_seed_gives_the_same_graph_again() -> None:
    first, second = (random_graph(Seeded(11)) for _ in range(2))
    assert first.model().SerializeToString() == second.model().SerializeToString()
    np.testing.assert_equal(first.feeds(1, 11), second.feeds(1, 11))
