"""Operators that are written as simpler ones, against onnxruntime or onnx's evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(0)


def f32(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


EQUATIONS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("ii->i", [(4, 4)]),
    ("ii", [(4, 4)]),
    ("bijj->bi", [(2, 3, 4, 4)]),
    ("ij->", [(3, 4)]),
    ("i,j->ij", [(3,), (4,)]),
    ("i,i->", [(5,), (5,)]),
    ("bij->bji", [(2, 3, 4)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
    ("ij,ik,jk->i", [(3, 4), (3, 5), (4, 5)]),
    ("bxi,oij,byj->boxy", [(2, 3, 4), (5, 4, 6), (2, 7, 6)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS, ids=[e for e, _ in EQUATIONS])
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    inputs = [f32(*shape) for shape in shapes]
    check_lowering("Einsum", inputs, {"equation": equation}, shapes=dict(enumerate(shapes)), passes=True, rtol=2e-5)


def test_einsum_of_mutable_sizes() -> None:
    inputs = [f32(2, 3, 4), f32(2, 4, 5)]
    shapes = {0: ("A", "B", "C"), 1: ("A", "C", "D")}
    check_lowering("Einsum", inputs, {"equation": "...ij,...jk"}, shapes=shapes, passes=True, rtol=2e-5)


Case = tuple[str, list[Any], dict[str, Any], int, str]
UNPOOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
PLACES = np.array([[[[5, 7], [13, 15]]]])
CASES: list[Case] = [
    ("DFT", [f32(2, 10, 1)], {}, 17, "onnxruntime"),
    ("DFT", [f32(2, 10, 2)], {"inverse": 1}, 17, "onnxruntime"),
    ("DFT", [f32(2, 10, 1), np.array(8)], {"onesided": 1}, 17, "onnxruntime"),
    ("DFT", [f32(2, 10, 3, 2), None, np.array(2)], {}, 20, "onnxruntime"),
    ("DFT", [f32(2, 10, 1), np.array(16), np.array(1)], {"onesided": 1}, 20, "onnxruntime"),
    ("DFT", [f32(2, 6, 2), None, np.array(1)], {"inverse": 1, "onesided": 1}, 20, "onnx"),
    ("STFT", [f32(1, 128), np.array(8), None, np.array(16)], {}, 17, "onnxruntime"),
    ("STFT", [f32(1, 128, 1), np.array(8), f32(16)], {"onesided": 0}, 17, "onnxruntime"),
    ("AffineGrid", [f32(2, 2, 3), np.array([2, 3, 4, 5])], {}, 20, "onnxruntime"),
    ("AffineGrid", [f32(2, 3, 4), np.array([2, 3, 4, 5, 6])], {"align_corners": 1}, 20, "onnxruntime"),
    ("Col2Im", [f32(1, 30, 12), np.array([5, 5]), np.array([2, 3])], {}, 18, "onnxruntime"),
    (
        "Col2Im",
        [f32(2, 20, 25), np.array([5, 5]), np.array([2, 2])],
        {"pads": [1, 1, 1, 1], "dilations": [2, 2]},
        18,
        "onnxruntime",
    ),
    ("LpPool", [f32(1, 3, 8, 8)], {"kernel_shape": [3, 2], "p": 3, "pads": [1, 0, 1, 0]}, 18, "onnxruntime"),
    ("MaxUnpool", [f32(1, 1, 2, 2), PLACES], UNPOOL, 18, "onnxruntime"),
    ("MaxUnpool", [f32(1, 1, 2, 2), PLACES, np.array([1, 1, 5, 5])], UNPOOL, 18, "onnx"),
    ("ConvTranspose", [f32(1, 16, 1, 33), f32(16, 8, 1, 5), f32(8)], {"strides": [1, 2]}, 18, "onnxruntime"),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_decomposed(case: Case) -> None:
    op, inputs, attributes, opset, oracle = case
    check_lowering(op, inputs, attributes, passes=True, rtol=2e-4, opset=opset, oracle=oracle)


def test_mel_weights_are_a_constant() -> None:
    inputs = [np.array(8), np.array(16), np.array(8192), np.float32(0), np.float32(4096)]
    check_lowering("MelWeightMatrix", inputs, shapes={}, passes=True, rtol=1e-6)
