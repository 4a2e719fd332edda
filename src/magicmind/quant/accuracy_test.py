"""Metrics and the search for layers to keep; whole builds are in tests/quantisation_test.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from magicmind.errors import PrecisionError
from magicmind.quant.accuracy import AccuracyTarget, cosine, flops_of, parse_target, reach, sqnr
from magicmind.quant.speed import layer_times
from magicmind.testing.check_pass import parse_model

RNG = np.random.default_rng(0)
WANTED = [{"y": RNG.standard_normal((2, 50)), "i": np.arange(3)} for _ in range(4)]


def test_metrics_are_over_all_samples_and_of_the_worst_output() -> None:
    near = [{"y": x["y"] + 0.01 * RNG.standard_normal((2, 50)), "i": x["i"] + 9} for x in WANTED]
    assert sqnr(near, WANTED) == pytest.approx(40, abs=1.5)  # whole numbers do not count where there are floats
    assert 0.9999 < cosine(near, WANTED) < 1
    assert sqnr(WANTED, WANTED) == math.inf and cosine(WANTED, WANTED) == pytest.approx(1)
    two = [{"a": x["y"], "b": 0 * x["y"]} for x in WANTED]
    assert sqnr([{"a": x["y"], "b": x["y"]} for x in WANTED], two) == -math.inf
    assert cosine(two, two) == pytest.approx(1)


def test_targets_as_text() -> None:
    assert parse_target("sqnr=25") == AccuracyTarget(25.0)
    assert parse_target("cosine=0.999") == AccuracyTarget(0.999, "cosine")
    for text in ("sqnr", "sqnr=high", "top1=3", "sqnr=nan"):
        with pytest.raises(PrecisionError):
            parse_target(text)


@pytest.mark.parametrize("found", [None, "high", math.nan, np.ones(3)])
def test_a_metric_gives_one_number(found: Any) -> None:
    with pytest.raises(PrecisionError, match="more is better"):
        AccuracyTarget(1.0, lambda outputs, wanted: found).measure(WANTED, WANTED)


def test_the_number_comes_first() -> None:
    with pytest.raises(PrecisionError, match="then the metric's name"):
        AccuracyTarget("sqnr", 25)  # type: ignore[arg-type]


def test_the_fewest_of_the_worst_are_kept() -> None:
    layers = [f"layer{i}" for i in range(40)]
    asked: list[int] = []

    def measure(kept: Sequence[str]) -> float:
        assert list(kept) == layers[: len(kept)]
        asked.append(len(kept))
        return 10.0 + len(kept)

    found = reach(AccuracyTarget(23.0), layers, measure)
    assert (len(found.kept), found.value, found.full) == (13, 23.0, 10.0)
    assert len(asked) <= 8
    assert reach(AccuracyTarget(9.0), layers, measure).kept == ()
    assert len(reach(AccuracyTarget(50.0), layers, measure).kept) == 40
    with pytest.raises(PrecisionError, match="sqnr reaches 50 at best, not 51"):
        reach(AccuracyTarget(51.0), layers, measure)


def test_work_of_products() -> None:
    model = parse_model(
        """(float[2,4,5,5] x, float[7,12] m) => (float[2,6,5,5] y, float[7,8] z)
        <float[6,2,3,3] w = {1}, float[8,12] v = {1}> {
            [conv] y = Conv<group=2, pads=[1,1,1,1]>(x, w)
            [full] z = Gemm<transB=1>(m, v)
        }""".replace("{1}", "{" + ",".join(["1"] * 108) + "}", 1).replace("{1}", "{" + ",".join(["1"] * 96) + "}", 1)
    )
    assert flops_of(model) == {"conv": 2 * (2 * 6 * 25) * (2 * 9), "full": 2 * (7 * 8) * 12}


def test_times_of_steps_are_those_of_their_layers() -> None:
    steps = [("conv1 + relu1", 5.0), ("x.uint8.quantize", 1.0), ("conv2,bn2 + add", 7.0), ("conv1", 2.0)]
    assert layer_times(steps, ["conv1", "conv2", "conv3"]) == {"conv1": 7.0, "conv2": 7.0}
