"""Which epilogues need no limit before they round."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.ir.scalar import ScalarProgram
from magicmind.ops.rounding import fits_int32

SCALED = ScalarProgram.parse(["t0 = Cast(acc, FLOAT)", "t1 = Mul(t0, x0)", "t2 = Quantise(t1, 3, UINT8)"])


def factors(largest: float) -> np.ndarray:
    return np.array([0.25, -largest], np.float32)


@pytest.mark.parametrize(("largest", "fits"), [(1e-3, True), (0.49, True), (0.51, False), (np.inf, False)])
def test_the_factors_of_the_channels_decide(largest: float, fits: bool) -> None:
    assert fits_int32(SCALED, "i32", [("f32", factors(largest))]) == fits


def test_floats_and_factors_that_only_the_run_tells_may_be_anything() -> None:
    assert not fits_int32(SCALED, "f32", [("f32", factors(1e-3))])
    assert not fits_int32(SCALED, "i32", [("f32", None)])
    floats = ScalarProgram.parse(["t0 = Mul(acc, 0.1)", "t1 = Quantise(t0, 3, UINT8)"])
    assert not fits_int32(floats, "f32", [])
    assert not fits_int32(ScalarProgram.parse(["t0 = Cast(acc, FLOAT)"]), "i32", [])


def test_bytes_that_are_added() -> None:
    residual = ScalarProgram.parse([
        "t0 = Cast(acc, FLOAT)", "t1 = Mul(t0, 0.1)", "t2 = Cast(x0, FLOAT)", "t3 = Add(t1, t2)",
        "t4 = Quantise(t3, 0, INT8)",
    ])  # fmt: skip
    assert fits_int32(residual, "i32", [("u8", None)])
    assert not fits_int32(residual, "i32", [("f32", None)])
