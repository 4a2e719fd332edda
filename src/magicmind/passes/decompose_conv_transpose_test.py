"""DecomposeConvTranspose against the float64 definition."""

from __future__ import annotations

import numpy as np
import onnx_ir
import pytest

from magicmind.ops.reference import run_graph
from magicmind.passes.decompose_conv_transpose import DecomposeConvTranspose
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
