"""Lowering of reductions, softmax and normalisations, against onnxruntime or onnx's reference evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.check_lowering import check_lowering


def random(*shape: int, dtype: str = "f4", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


AXES = np.array([-1, 1], "i8")


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp"])
@pytest.mark.parametrize("attributes", [{}, {"keepdims": 0}])
def test_reduce(op: str, attributes: dict[str, Any]) -> None:
    check_lowering(f"Reduce{op}", [random(2, 3, 4, 5), AXES], attributes, rtol=1e-5)
    check_lowering(f"Reduce{op}", [random(2, 3, 4, 5), AXES], attributes, rtol=1e-5, shapes={0: ("N", 3, 4, "W")})


def test_reduce_all_and_none() -> None:
    check_lowering("ReduceSum", [random(2, 3)], rtol=1e-6)
    check_lowering("ReduceSum", [random(2, 3)], {"noop_with_empty_axes": 1}, rtol=1e-6)
    check_lowering("ReduceMax", [np.arange(6).reshape(2, 3), np.array([0])])
    check_lowering("ReduceMean", [random(2, 20, 3, 3), np.array([2, 3])], rtol=1e-5, blocked=True)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_positions(op: str) -> None:
    for axis in (0, 1, -1):
        for last in (0, 1):
            attributes = {"axis": axis, "select_last_index": last, "keepdims": last}
            x = np.random.default_rng(0).integers(0, 4, (3, 19, 20)).astype("f4")
            check_lowering(op, [x], attributes)
            check_lowering(op, [x], attributes, shapes={0: ("N", 19, "W")})


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax(op: str) -> None:
    for axis in (0, 1, -1):
        check_lowering(op, [random(3, 19, 20)], {"axis": axis}, rtol=1e-5)
        check_lowering(op, [random(3, 19, 20)], {"axis": axis}, rtol=1e-5, shapes={0: ("N", "C", 20)})


def test_layer_normalization() -> None:
    # onnxruntime 1.31 crashes on the second of these.
    x, scale, bias = random(2, 5, 24), random(24, seed=1), random(24, seed=2)
    check_lowering("LayerNormalization", [x, scale, bias], {"epsilon": 1e-3}, rtol=1e-5, oracle="onnx")
    check_lowering("LayerNormalization", [x, scale, bias], outputs=3, rtol=1e-5, oracle="onnx")
    check_lowering(
        "LayerNormalization", [x, random(5, 24), None], {"axis": 1}, rtol=1e-5, oracle="onnx", shapes={0: ("N", 5, 24)}
    )
    check_lowering("LayerNormalization", [x, random(1, 24), bias], {"axis": 1}, rtol=1e-5, oracle="onnx")


def test_channel_normalizations() -> None:
    x, scale, bias = random(2, 6, 5, 7), random(6, seed=1), random(6, seed=2)
    check_lowering("InstanceNormalization", [x, scale, bias], rtol=1e-5)
    check_lowering("InstanceNormalization", [x, scale, bias], rtol=1e-5, shapes={0: ("N", 6, "H", 7)})
    check_lowering("GroupNormalization", [x, scale, bias], {"num_groups": 3}, rtol=1e-5, opset=21)


def test_lp_and_local_response() -> None:
    x = random(2, 6, 5, 7)
    for p in (1, 2):
        for axis in (1, -1):
            check_lowering("LpNormalization", [x], {"p": p, "axis": axis}, rtol=1e-5)
    check_lowering("LRN", [x], {"size": 3, "alpha": 0.01}, rtol=1e-5)
