"""bfloat16: a storage format, computed in float32."""

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
