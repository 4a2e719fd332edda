"""Scatter, running sums, TopK and masks against onnxruntime or onnx's evaluator, in fixed and mutable shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(0)


def f32(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*shape: int) -> Any:
    """Few distinct values: many ties."""
    return RNG.integers(0, 4, shape).astype(np.float32)


NAMES = ("A", "B", "C", "D", "E")
ND_INDICES = np.array([[[0, 1]], [[2, -1]], [[0, 1]]])
Case = tuple[str, list[Any], dict[str, Any], tuple[int, ...], int, str]
CASES: list[Case] = [
    *(
        ("ScatterND", [f32(3, 4, 5), ND_INDICES, f32(3, 1, 5)], {"reduction": r}, (0, 2), 1, "onnxruntime")
        for r in ("none", "add", "mul", "max", "min")
    ),
    ("ScatterND", [np.arange(12), np.array([[1], [7]]), np.array([5, 6])], {}, (0,), 1, "onnxruntime"),
    *(
        (
            "ScatterElements",
            [f32(3, 4, 5), RNG.integers(-4, 4, (2, 3, 5)), f32(2, 3, 5)],
            {"axis": 1, "reduction": r},
            (0, 2),
            1,
            "onnxruntime",
        )
        for r in ("add", "mul", "max", "min")
    ),
    ("ScatterElements", [f32(3, 5), np.array([[1, 3]], np.int32), f32(1, 2)], {"axis": 1}, (0,), 1, "onnxruntime"),
    ("CumSum", [f32(3, 19, 5), np.array(1)], {}, (0,), 1, "onnxruntime"),
    ("CumSum", [f32(3, 19), np.array(-1)], {"reverse": 1, "exclusive": 1}, (0,), 1, "onnxruntime"),
    ("CumSum", [np.arange(30).reshape(5, 6), np.array(0)], {"reverse": 1}, (0,), 1, "onnxruntime"),
    ("TopK", [f32(3, 19), np.array([4])], {}, (0,), 2, "onnxruntime"),
    ("TopK", [whole(3, 19, 5), np.array([7])], {"axis": 1, "largest": 0}, (0,), 2, "onnxruntime"),
    ("TopK", [RNG.integers(0, 9, (40,)), np.array([40])], {}, (0,), 2, "onnxruntime"),
    ("TopK", [whole(3, 5), np.array([0])], {}, (0,), 2, "onnxruntime"),
    ("Trilu", [f32(2, 5, 7)], {}, (0,), 1, "onnxruntime"),
    ("Trilu", [np.arange(35).reshape(5, 7), np.array(-2)], {"upper": 0}, (0,), 1, "onnxruntime"),
    ("EyeLike", [f32(5, 7)], {"k": 1}, (0,), 1, "onnxruntime"),
    ("OneHot", [np.array([[0, 3], [-1, 9]]), np.array(5), f32(2)], {}, (0,), 1, "onnxruntime"),
    ("OneHot", [np.array([[0, 3], [-1, 9]]), np.array([5]), np.array([2, 7])], {"axis": 1}, (0,), 1, "onnxruntime"),
    ("ReverseSequence", [f32(6, 4, 3), np.array([1, 6, 3, 2])], {}, (0, 1), 1, "onnxruntime"),
    (
        "ReverseSequence",
        [f32(4, 6), np.array([1, 6, 3, 2])],
        {"time_axis": 1, "batch_axis": 0},
        (0, 1),
        1,
        "onnxruntime",
    ),
]


@pytest.mark.parametrize("mutable", [False, True], ids=["fixed", "mutable"])
@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_indexing(case: Case, mutable: bool) -> None:
    op, inputs, attributes, fed, outputs, oracle = case
    shapes: dict[int, tuple[int | str, ...]] = {i: inputs[i].shape for i in fed}
    if mutable:
        shapes[0] = NAMES[: inputs[0].ndim]
    check_lowering(
        op, inputs, attributes, shapes=shapes, outputs=outputs, passes=True, rtol=2e-6, opset=18, oracle=oracle
    )


def test_cum_prod() -> None:
    check_lowering("CumProd", [f32(3, 6), np.array(1)], passes=True, rtol=2e-6, opset=26, oracle="onnx")


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str) -> None:
    inputs = [f32(2, 3, 4, 5), f32(2, 3, 2, 5), np.array([1, 2 if mode == "linear" else 3])]
    shapes: dict[int, tuple[int | str, ...]] = {0: ("A", 3, "C", 5), 1: ("A", 3, 2, 5), 2: ("A",)}
    check_lowering("TensorScatter", inputs, {"mode": mode}, shapes=shapes, passes=True, opset=24, oracle="onnx")


def test_bit_cast() -> None:
    x = f32(3, 4)
    check_lowering("BitCast", [x], {"to": 6}, passes=True, opset=26, want=[x.view(np.int32)])
