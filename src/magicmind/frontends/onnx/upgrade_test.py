"""Operators of old operator sets: the modernised graph computes what onnxruntime computes on the original."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import magicmind
from magicmind.ir.evaluate import OPSET
from magicmind.ops.reference import run_graph

Shape = tuple[int, ...]
Constants = dict[str, np.ndarray]


def model_of(
    opset: int, op: str, shape: Shape, constants: Constants, outputs: int, **attributes: Any
) -> onnx.ModelProto:
    tensors = [onnx.numpy_helper.from_array(a, n) for n, a in constants.items()]
    names = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *constants], names, "the node", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)


SCALES = np.array([1, 1, 2, 3], np.float32)
STATISTICS = {n: np.linspace(0.5, 1.5, 3, dtype=np.float32) for n in ("scale", "bias", "mean", "variance")}
CASES: list[tuple[int, str, Shape, Constants, int, dict[str, Any]]] = [
    (7, "BatchNormalization", (2, 3, 4, 4), STATISTICS, 1, {"spatial": 1}),
    (8, "BatchNormalization", (2, 3, 4, 4), STATISTICS, 1, {"epsilon": 1e-3}),
    (7, "Clip", (2, 3), {}, 1, {"min": -0.5, "max": 0.5}),
    (7, "Clip", (2, 3), {}, 1, {"max": 0.25}),
    (9, "Slice", (5, 6), {}, 1, {"starts": [1, 0], "ends": [-1, 100], "axes": [1, 0]}),
    (9, "Slice", (5, 6), {}, 1, {"starts": [1], "ends": [3]}),
    (7, "Pad", (2, 3), {}, 1, {"pads": [1, 0, 2, 1], "value": 2.5}),
    (10, "Pad", (4, 5), {}, 1, {"pads": [1, 0, 2, 1], "mode": "reflect"}),
    (7, "Squeeze", (1, 3, 1), {}, 1, {"axes": [0]}),
    (11, "Unsqueeze", (2, 3), {}, 1, {"axes": [0, 3]}),
    (11, "ReduceSum", (2, 3, 4), {}, 1, {"axes": [1], "keepdims": 0}),
    (13, "ReduceMean", (2, 3, 4), {}, 1, {"axes": [-1]}),
    (7, "ReduceMax", (2, 3, 4), {}, 1, {}),
    (7, "Split", (6, 4), {}, 3, {"axis": 0}),
    (11, "Split", (6, 4), {}, 2, {"axis": 0, "split": [2, 4]}),
    (13, "Split", (6, 4), {}, 2, {"axis": 1}),
    (7, "Softmax", (2, 3, 4), {}, 1, {}),
    (7, "Softmax", (2, 3, 4), {}, 1, {"axis": 2}),
    (11, "LogSoftmax", (2, 3, 4), {}, 1, {"axis": 0}),
    (12, "Softmax", (2, 3, 4, 2), {}, 1, {"axis": -2}),
    (7, "Upsample", (1, 2, 3, 4), {}, 1, {"scales": [1.0, 1.0, 2.0, 3.0]}),
    (9, "Upsample", (1, 2, 3, 4), {"scales": SCALES}, 1, {"mode": "linear"}),
    (10, "Resize", (1, 2, 3, 4), {"scales": SCALES}, 1, {"mode": "nearest"}),
    (10, "Resize", (1, 2, 6, 8), {"scales": np.array([1, 1, 0.5, 0.6], np.float32)}, 1, {"mode": "nearest"}),
    (7, "Dropout", (2, 3), {}, 1, {"ratio": 0.5}),
    (7, "Gemm", (2, 3), {"b": np.ones((3, 4), np.float32), "c": np.ones(4, np.float32)}, 1, {"alpha": 0.5}),
    (7, "Reshape", (2, 6), {"shape": np.array([3, -1], np.int64)}, 1, {}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[1]}-{c[0]}-{list(c[2])}-{list(c[5])}")
def test_old_operators(case: tuple[int, str, Shape, Constants, int, dict[str, Any]]) -> None:
    opset, op, shape, constants, outputs, attributes = case
    model = model_of(opset, op, shape, constants, outputs, **attributes)
    feeds = {"x": np.random.default_rng(3).standard_normal(shape).astype(np.float32)}
    expected = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    graph = magicmind.parse(model)
    assert graph.model.graph.opset_imports[""] == OPSET
    assert "the node" in [n.name for n in graph.model.graph]
    found = run_graph(graph.model, feeds)
    assert list(found) == [f"y{i}" for i in range(outputs)]
    for result, array in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(result, array, rtol=1e-5, atol=1e-5)


def test_softmax_of_a_matrix_stays_one_node() -> None:
    graph = magicmind.parse(model_of(7, "Softmax", (2, 3), {}, 1)).model.graph
    assert [n.op_type for n in graph] == ["Softmax"]


def test_batch_normalisation_per_element_is_refused() -> None:
    with pytest.raises(magicmind.ModelFormatError, match=r"the node .*spatial=0"):
        magicmind.parse(model_of(7, "BatchNormalization", (2, 3, 4, 4), STATISTICS, 1, spatial=0))


@pytest.mark.parametrize("opset", [0, 1000])
def test_operator_sets_out_of_reach(opset: int) -> None:
    with pytest.raises(magicmind.ModelFormatError, match=f"operator set {opset} cannot be read"):
        magicmind.parse(model_of(opset, "Relu", (2, 3), {}, 1))


X = np.random.default_rng(3).standard_normal((2, 3, 4, 4)).astype(np.float32)
CHANNELS = np.array([0.5, -1.0, 2.0], np.float32)
EARLY: list[tuple[int, str, Constants, dict[str, Any], Any]] = [
    (6, "Add", {"b": CHANNELS}, {"axis": 1, "broadcast": 1}, X + CHANNELS[:, None, None]),
    (1, "Mul", {"b": CHANNELS}, {"axis": -3, "broadcast": 1}, X * CHANNELS[:, None, None]),
    (6, "Sub", {"b": np.ones(4, np.float32)}, {"broadcast": 1}, X - 1),
    (6, "PRelu", {"slope": CHANNELS}, {}, np.where(X < 0, X * CHANNELS[:, None, None], X)),
    (1, "Cast", {}, {"to": "INT32"}, X.astype(np.int32)),
    (3, "Concat", {"b": X}, {}, np.concatenate([X, X], 1)),
    (1, "Pad", {}, {"paddings": [0, 0, 1, 0, 0, 0, 0, 2]}, np.pad(X, [(0, 0), (0, 0), (1, 0), (0, 2)])),
    (1, "Upsample", {}, {"height_scale": 2.0, "width_scale": 1.0}, X.repeat(2, 2)),
    (1, "Relu", {}, {"consumed_inputs": [0]}, np.maximum(X, 0)),
]


@pytest.mark.parametrize("case", EARLY, ids=lambda c: f"{c[1]}-{c[0]}-{list(c[3])}")
def test_the_first_operator_sets(case: tuple[int, str, Constants, dict[str, Any], Any]) -> None:
    opset, op, constants, attributes, expected = case
    graph = magicmind.parse(model_of(opset, op, X.shape, constants, 1, **attributes))
    np.testing.assert_allclose(run_graph(graph.model, {"x": X})["y0"], expected, rtol=1e-6)
