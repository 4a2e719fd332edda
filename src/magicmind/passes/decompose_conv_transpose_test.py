"""DecomposeConvTranspose against the float64 definition."""

from __future__ import annotations

import numpy as np
import onnx_ir
import pytest

from magicmind.ops.reference import run_graph
from magicmind.passes.decompose_conv_transpose import DecomposeConvTranspose, DecomposeQuantisedConvTranspose
from magicmind.passes.infer_types import infer_types
from magicmind.testing.check_pass import parse_model

CASES = [
    ("1,3,5,4", "3,2,4,4", "strides=[2,2], pads=[1,1,1,1]"),
    ("1,3,5,4", "3,2,3,3", "strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]"),
    ("2,4,5,4", "4,2,2,2", "strides=[2,2], group=2"),
    ("1,4,5,4", "4,1,4,4", "strides=[2,2], group=4, pads=[1,1,1,1]"),
    ("1,2,5,4", "2,3,3,3", "pads=[1,0,1,0]"),
    ("1,2,5,4", "2,3,2,3", "strides=[3,3], dilations=[2,1]"),
    ("1,2,7", "2,3,4", "strides=[2], pads=[1,1]"),
    ("1,2,3,3", "2,1,3,3", "strides=[3,3], output_padding=[2,2]"),
]


def _model(x: str, w: str, attributes: str) -> onnx_ir.Model:
    w_shape = [int(d) for d in w.split(",")]
    values = np.random.default_rng(3).standard_normal(w_shape).astype(np.float32)
    channels = w_shape[1] * (int(attributes.split("group=")[1].split(",")[0]) if "group" in attributes else 1)
    flat = ",".join(map(str, values.ravel().tolist()))
    bias = ",".join(map(str, range(channels)))
    rank = ",".join("?" * x.count(",") + "?").replace("?,?", "?,?")
    model = parse_model(
        f"(float[{x}] x) => (float[{rank}] y) <float[{w}] w = {{{flat}}}, float[{channels}] b = {{{bias}}}>"
        f" {{ y = ConvTranspose<{attributes}>(x, w, b) }}"
    )
    infer_types(model)
    return model


@pytest.mark.parametrize(("x", "w", "attributes"), CASES)
def test_same_numbers(x: str, w: str, attributes: str) -> None:
    model = _model(x, w, attributes)
    feed = {"x": np.random.default_rng(4).standard_normal([int(d) for d in x.split(",")]).astype(np.float32)}
    before = run_graph(model, feed)["y"]
    assert DecomposeConvTranspose().call(model)
    infer_types(model)
    assert {n.op_type for n in model.graph} <= {"Conv", "DepthToSpace", "Slice", "Reshape", "Transpose"}
    after = run_graph(model, feed)["y"]
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def test_run_time_weights_stay() -> None:
    model = parse_model("(float[1,2,5,4] x, float[2,3,2,2] w) => (float[1,3,?,?] y) { y = ConvTranspose(x, w) }")
    infer_types(model)
    pass_ = DecomposeConvTranspose()
    assert not pass_.call(model)
    assert "run time" in next(iter(pass_.declined.values()))


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bias", ["float", "int32"])
@pytest.mark.parametrize("attributes", ["strides=[2,2], pads=[1,1,1,1]", "group=2, strides=[2,2]"])
def test_whole_numbers_stay_so(attributes: str, bias: str, per_channel: bool) -> None:
    groups, rng = (2 if "group" in attributes else 1), np.random.default_rng(5)
    weights = ",".join(map(str, rng.integers(-127, 128, 4 * 3 * 9)))
    scale, axis = ("float[3] s = {0.5, 0.25, 2}", "axis=1") if per_channel else ("float s = {0.5}", "axis=1")
    outputs = 3 * groups
    steps = ",".join(map(str, range(outputs)))
    last = "b = DequantizeLinear(b8, one)" if bias == "int32" else ""
    model = parse_model(
        f"(float[1,4,5,4] x) => (float[1,?,?,?] y) <int8[4,3,3,3] w8 = {{{weights}}}, {scale}, float one = {{1}}, "
        f"uint8 zero = {{128}}, int32[{outputs}] b8 = {{{steps}}}, float[{outputs}] b32 = {{{steps}}}> {{"
        f" q = QuantizeLinear(x, one, zero)  d = DequantizeLinear(q, one, zero)  w = DequantizeLinear<{axis}>(w8, s)"
        f" {last}  y = ConvTranspose<{attributes}>(d, w, {'b' if last else 'b32'}) }}"
    )
    infer_types(model)
    feed = {"x": rng.standard_normal((1, 4, 5, 4)).astype(np.float32) * 30}
    before = run_graph(model, feed)["y"]
    assert DecomposeQuantisedConvTranspose().call(model)
    infer_types(model)
    assert "ConvTranspose" not in {node.op_type for node in model.graph}
    assert any(str(v.dtype) == "INT8" and v.shape == (6 * 2 * groups, 4 // groups, 2, 2) for v in _constants(model))
    np.testing.assert_allclose(run_graph(model, feed)["y"], before, rtol=1e-5)


def _constants(model: onnx_ir.Model) -> list[onnx_ir.Value]:
    return list(model.graph.initializers.values())
