"""Pooling nodes through their lowering, against onnx's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import magicmind.ops.lower_pool
import magicmind.ops.lower_reorder  # noqa: F401
from magicmind.testing.check_lowering import check_lowering

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
