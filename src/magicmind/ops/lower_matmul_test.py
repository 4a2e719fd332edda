"""`magicmind.MatMul` of float16 and of whole numbers through its lowering, against the numpy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.check_own import check_own
from magicmind.testing.run_kernel import runnable_targets

RNG = np.random.default_rng(11)
REQUANTISE = ["t0 = Cast(acc, FLOAT)", "t1 = Mul(t0, x0)", "t2 = Quantise(t1, 3, UINT8)"]
HALF = ["t0 = Cast(x0, FLOAT)", "t1 = Add(acc, t0)", "t2 = Cast(t1, FLOAT16)"]


def check(*arguments: Any, **words: Any) -> list[str]:
    return check_own("magicmind.MatMul", *arguments, **words)


def integers(dtype: str, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("target", runnable_targets())
@pytest.mark.parametrize("rows", [3, "N"])
def test_bytes_with_zero_point_and_bias(rows: int | str, target: str) -> None:
    a, b, bias = integers("u1", 3, 37), integers("i1", 37, 21), integers("i2", 21).astype("i4")
    scale = (RNG.random((1, 21)) * 1e-3).astype("f4")
    kernels = check([a, b, bias, scale], {0: (rows, 37)}, x_zero=131, epilogue=REQUANTISE, target=target)
    assert kernels[0].startswith("u8i8_matmul_")


def test_bytes_without_epilogue_and_turned() -> None:
    a, b = integers("u1", 37, 5), integers("i1", 20, 37)
    check([a, b], {0: a.shape}, x_zero=7, transA=1, transB=1)
    check([a.T.copy(), b.T.copy()], {0: (5, 37)})


@pytest.mark.parametrize("target", runnable_targets())
@pytest.mark.parametrize("dtype", ["u1", "i1"])
def test_activations_times_activations(dtype: str, target: str) -> None:
    a, b = integers("u1", 2, 3, 5, 19), integers(dtype, 2, 3, 19, 18)
    scale = np.array([0.0004], np.float32)
    kernels = check(
        [a, b, None, scale], {0: (2, "H", "M", "K"), 1: (2, "H", "K", 18)},
        x_zero=128, b_zero=100, epilogue=REQUANTISE, target=target,
    )  # fmt: skip
    assert "packing" in kernels[0]


def test_constant_bytes_that_are_no_int8() -> None:
    check([integers("u1", 4, 33), integers("u1", 33, 17)], {0: (4, 33)}, x_zero=9, b_zero=201)


@pytest.mark.parametrize("target", runnable_targets())
@pytest.mark.parametrize("a_dtype", ["f2", "f4"])
def test_float16(a_dtype: str, target: str) -> None:
    a, b, bias, other = (RNG.standard_normal(s).astype("f4") for s in ((9, 40), (40, 35), 35, (9, 35)))
    inputs = [a.astype(a_dtype), b.astype("f2"), bias, other.astype("f2")]
    kernels = check(inputs, {0: ("N", 40), 3: ("N", 35)}, tolerance=4e-3, epilogue=HALF, target=target)
    assert "f16" in kernels[0]
    check([*inputs[:2]], {0: (9, 40), 1: (40, 35)}, tolerance=1e-3, target=target)


@pytest.mark.parametrize("target", runnable_targets())
def test_words(target: str) -> None:
    a, b, bias = integers("i2", 4, 33), integers("i2", 33, 17), integers("i4", 17).astype("i8")
    check([a, b, bias], {0: (4, 33)}, target=target)
    check([a, b], {0: (4, 33), 1: (33, 17)}, target=target)
    epilogue = ["t0 = Cast(acc, FLOAT)", "t1 = Mul(t0, 1e-06)", "t2 = Quantise(t1, 0, INT16)"]
    check([a, b, bias], {0: (4, 33)}, epilogue=epilogue, target=target)
