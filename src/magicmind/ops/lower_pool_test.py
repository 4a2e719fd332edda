"""Pooling nodes through their lowering, against onnx's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import magicmind.ops.lower_pool
import magicmind.ops.lower_reorder  # noqa: F401
from magicmind.testing.check_lowering import check_lowering
from magicmind.testing.check_own import check_own

CASES: list[dict[str, Any]] = [
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1], "ceil_mode": 1},
    {"kernel_shape": [5, 5], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"kernel_shape": [2, 3], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [2, 3], "auto_pad": "VALID", "strides": [3, 1]},
    {"kernel_shape": [13, 1]},
]


def image(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_windows(case: int, op: str, blocked: bool) -> None:
    attributes = CASES[case]
    x = image(2, 19, 13, 17)
    check_lowering(op, [x], attributes, blocked=blocked, rtol=1e-5)
    check_lowering(op, [x], attributes, shapes={0: ("N", 19, "H", "W")}, blocked=blocked, rtol=1e-5)
    if op == "AveragePool" and "ceil_mode" not in attributes:
        check_lowering(op, [x], {**attributes, "count_include_pad": 1}, blocked=blocked, rtol=1e-5)


@pytest.mark.parametrize("blocked", [False, True])
def test_other_ranks_and_dilation(blocked: bool) -> None:
    check_lowering("MaxPool", [image(1, 3, 40)], {"kernel_shape": [3], "dilations": [2]}, blocked=blocked)
    check_lowering(
        "MaxPool", [image(1, 20, 9, 8, 7)], {"kernel_shape": [3, 2, 2], "strides": [1, 2, 2]}, blocked=blocked
    )
    check_lowering("LpPool", [image(1, 20, 9, 8)], {"kernel_shape": [3, 2], "p": 2}, blocked=blocked, rtol=1e-5)


def test_indices() -> None:
    x = image(2, 3, 9, 10)
    check_lowering("MaxPool", [x], {"kernel_shape": [3, 3], "strides": [2, 2]}, outputs=2)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global(op: str, blocked: bool) -> None:
    x = image(2, 32, 7, 7)
    check_lowering(op, [x], blocked=blocked, rtol=1e-5)
    check_lowering(op, [x], shapes={0: ("N", 32, "H", "W")}, blocked=blocked, rtol=1e-5)
    check_lowering(op, [image(1, 5, 3)], blocked=blocked, rtol=1e-5)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_averages_of_bytes(case: int, blocked: bool) -> None:
    x = np.random.default_rng(case).integers(0, 256, (2, 19, 13, 17)).astype(np.uint8)
    attributes = {**CASES[case], "scale": 1.13, "x_zero": 90, "y_zero": 40}
    check_own("AveragePool", [x], {0: x.shape}, blocked=blocked, **attributes)
    check_own("AveragePool", [x], {0: ("N", 19, "H", "W")}, blocked=blocked, count_include_pad=1, **attributes)


@pytest.mark.parametrize("blocked", [False, True])
def test_bytes_over_all_pixels(blocked: bool) -> None:
    x = np.random.default_rng(1).integers(0, 256, (2, 33, 5, 7)).astype(np.uint8)
    check_own("GlobalAveragePool", [x], {0: ("N", 33, "H", "W")}, blocked=blocked, scale=0.7, x_zero=3, y_zero=9)
    check_own("MaxPool", [x], {0: x.shape}, blocked=blocked, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    check_own("GlobalMaxPool", [x], {0: x.shape}, blocked=blocked)
    for keep in (0, 1):
        axes = np.array([-1, 2])
        check_own("ReduceMean", [x, axes], {0: ("N", 33, "H", 7)}, keepdims=keep, scale=1.0, x_zero=128, y_zero=128)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"])
def test_float16(op: str, blocked: bool) -> None:
    x = image(2, 19, 13, 17)
    attributes: dict[str, Any] = {} if op.startswith("Global") else {"kernel_shape": [3, 2], "strides": [2, 1]}
    kernels = check_lowering(
        op, [x.astype(np.float16)], attributes, blocked=blocked, rtol=2e-3, oracle="onnx", passes=not blocked
    )
    assert any("f16" in name for name in kernels)
