"""16-bit floats are storage formats, computed in float32."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import magicmind

RNG = np.random.default_rng(0)
FLOAT = onnx.TensorProto.FLOAT


def both(nodes: list[onnx.NodeProto], x: Any, constants: dict[str, Any]) -> tuple[Any, Any]:
    """Ours and onnx's y for a graph from x to y."""
    helper = onnx.helper
    info = helper.make_tensor_value_info("x", FLOAT, list(x.shape))
    out = onnx.ValueInfoProto(name="y")
    weights = [onnx.numpy_helper.from_array(a, name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "g", [info], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
    with magicmind.build(magicmind.parse(model)) as built:
        (got,) = built.session(threads=1).run({"x": x}).values()
    expected: Any = ReferenceEvaluator(model).run(None, {"x": x})
    return got, expected[0]


def cast(read: str, written: str, to: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [read], [written], to=to)


def test_casts_round_to_even_and_keep_nan() -> None:
    bits = RNG.integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32)
    x = np.concatenate([bits.view(np.float32), np.array([np.nan, np.inf, -np.inf, 1.00390625, 0.0], np.float32)])
    got, _ = both([cast("x", "b", onnx.TensorProto.BFLOAT16), cast("b", "y", FLOAT)], x, {})
    np.testing.assert_array_equal(got, x.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize("op", ["MatMul", "Add", "Softmax", "Transpose"])
def test_operators_on_bfloat16(op: str) -> None:
    x = RNG.standard_normal((5, 5)).astype(np.float32)
    w = RNG.standard_normal((5, 5)).astype(ml_dtypes.bfloat16)
    inputs = ["b", "w"] if op in ("MatMul", "Add") else ["b"]
    nodes = [
        cast("x", "b", onnx.TensorProto.BFLOAT16),
        onnx.helper.make_node(op, inputs, ["c"]),
        cast("c", "y", FLOAT),
    ]
    got, wanted = both(nodes, x, {"w": w} if len(inputs) > 1 else {})
    np.testing.assert_allclose(got, wanted, rtol=2e-2, atol=2e-2)


HALF_IMAGES: dict[str, dict[str, Any]] = {
    "MaxPool": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    "AveragePool": {"kernel_shape": [2, 3]},
    "LpPool": {"kernel_shape": [2, 2]},
    "GlobalAveragePool": {},
    "GlobalMaxPool": {},
    "GridSample": {},
    "DeformConv": {},
}


@pytest.mark.parametrize("op", HALF_IMAGES)
def test_images_of_float16(op: str) -> None:
    x = RNG.standard_normal((2, 4, 7, 6)).astype(np.float32)
    constants = {
        "GridSample": {"grid": RNG.uniform(-1, 1, (2, 3, 5, 2)).astype(np.float16)},
        "DeformConv": {
            "w": RNG.standard_normal((3, 4, 2, 2)).astype(np.float16),
            "offset": RNG.uniform(-1, 1, (2, 8, 6, 5)).astype(np.float16),
        },
    }.get(op, {})
    nodes = [
        cast("x", "h", onnx.TensorProto.FLOAT16),
        onnx.helper.make_node(op, ["h", *constants], ["z"], **HALF_IMAGES[op]),
        cast("z", "y", FLOAT),
    ]
    got, wanted = both(nodes, x, constants)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=5e-3, atol=3e-2)  # the evaluator computes in float16


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_recurrence_of_float16_with_biases_and_states(op: str, gates: int) -> None:
    """Its kernels read biases and states, and write last states, in float32."""
    x = RNG.standard_normal((3, 2, 6)).astype(np.float32)
    constants = {
        "w": RNG.uniform(-1, 1, (1, gates * 8, 6)).astype(np.float16),
        "r": RNG.uniform(-1, 1, (1, gates * 8, 8)).astype(np.float16),
        "b": RNG.uniform(-1, 1, (1, gates * 16)).astype(np.float16),
        "first": RNG.uniform(-1, 1, (1, 2, 8)).astype(np.float16),
    }
    nodes = [
        cast("x", "h", onnx.TensorProto.FLOAT16),
        onnx.helper.make_node(op, ["h", "w", "r", "b", "", "first"], ["", "last"], hidden_size=8),
        cast("last", "y", FLOAT),
    ]
    got, wanted = both(nodes, x, constants)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=5e-3)


def test_a_definition_with_float32_constants() -> None:
    """ONNX's own evaluator cannot take float16 here."""
    x = RNG.standard_normal((2, 3, 4, 5)).astype(np.float16)
    node = onnx.helper.make_node("MeanVarianceNormalization", ["x"], ["y"])
    info = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, ["n", 3, "h", "w"])
    graph = onnx.helper.make_graph([node], "g", [info], [onnx.ValueInfoProto(name="y")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])
    with magicmind.build(magicmind.parse(model)) as built:
        (got,) = built.session(threads=1).run({"x": x}).values()
    wide = x.astype(np.float32)
    wanted = (wide - wide.mean((0, 2, 3), keepdims=True)) / wide.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(got, wanted, rtol=2e-3, atol=2e-3)
