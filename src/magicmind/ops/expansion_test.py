"""Operators that run by the function body ONNX gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(0)


def f32(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


LABELS = RNG.integers(0, 5, (3, 4))
CASES: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("RMSNormalization", [f32(2, 3, 5), f32(5)], {}, 1),
    ("MeanVarianceNormalization", [f32(2, 3, 4, 5)], {}, 1),
    ("NegativeLogLikelihoodLoss", [f32(3, 5, 4), LABELS, np.abs(f32(5))], {"reduction": "mean", "ignore_index": 2}, 1),
    ("SoftmaxCrossEntropyLoss", [f32(3, 5, 4), LABELS], {"reduction": "none"}, 2),
    ("HannWindow", [np.array(10)], {}, 1),
    ("BlackmanWindow", [np.array(10)], {"periodic": 0}, 1),
    ("CenterCropPad", [f32(5, 7), np.array([3, 9])], {}, 1),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "outputs"), CASES, ids=[c[0] for c in CASES])
def test_function_bodies(op: str, inputs: list[Any], attributes: dict[str, Any], outputs: int) -> None:
    shapes: dict[int, tuple[int | str, ...]] = {} if op.endswith("Window") else {0: inputs[0].shape}
    check_lowering(op, inputs, attributes, shapes=shapes, outputs=outputs, passes=True, rtol=1e-5, opset=23)


def test_rotary_embedding() -> None:
    inputs = [f32(2, 3, 4, 8), f32(50, 4), f32(50, 4), RNG.integers(0, 50, (2, 4))]
    check_lowering("RotaryEmbedding", inputs, passes=True, rtol=1e-5, opset=23, oracle="onnx")
