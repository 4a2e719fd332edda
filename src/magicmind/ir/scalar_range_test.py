"""Bounds of scalar programs against their values at random inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from magicmind.ir.scalar import ScalarProgram
from magicmind.ir.scalar_range import ANYTHING, intervals

RNG = np.random.default_rng(0)
REQUANTISE = ScalarProgram.parse([
    "t0 = Cast(acc, FLOAT)", "t1 = Mul(t0, x0)", "t2 = Cast(x1, FLOAT)", "t3 = Sub(t2, 7.0)", "t4 = Mul(t3, -0.5)",
    "t5 = Add(t1, t4)", "t6 = Relu(t5)", "t7 = Quantise(t6, 3, UINT8)",
])  # fmt: skip


def test_values_lie_between_the_bounds_and_reach_them() -> None:
    found = intervals(REQUANTISE, {"acc": (-1000, 500), "x1": (0, 255)}, {"x0": (0.25, 2)})
    acc, x1 = RNG.integers(-1000, 501, 100_000), RNG.integers(0, 256, 100_000)
    x0 = RNG.choice([0.25, 1.0, 2.0], 100_000)
    values = np.float32(acc) * x0 + (np.float32(x1) - 7) * np.float32(-0.5)
    low, high = found["t5"]
    assert low <= values.min() < 0.9 * low and 0.9 * high < values.max() <= high
    assert found["t6"][0] == 0 and found["t6"][1] == pytest.approx(high)


def test_nothing_is_known_of_other_operators_open_inputs_and_integer_arithmetic() -> None:
    program = ScalarProgram.parse([
        "t0 = Add(acc, x1)", "t1 = Cast(t0, FLOAT)", "t2 = Exp(x0)", "t3 = Mul(x0, x2)", "t4 = Add(t2, t3)",
        "t5 = Add(t1, t4)",
    ])  # fmt: skip
    found = intervals(program, {"acc": (-1, 1), "x1": (0, 1)}, {"x0": (0, 1)})
    assert all(found[name] == ANYTHING for name in ("t0", "t1", "t2", "t3", "t4", "t5", "x2"))
    open_end = intervals(ScalarProgram.parse(["t0 = Mul(x0, 0.0)"]), {}, {"x0": (0, math.inf)})
    assert open_end["t0"] == ANYTHING
