"""Factors travel through a network and change nothing that it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir
import pytest

from magicmind.errors import PrecisionError
from magicmind.ops.reference import run_graph
from magicmind.passes.edit import add_constant
from magicmind.passes.infer_types import infer_types
from magicmind.quant.channels import FIXED, channel_classes, scale_channels
from magicmind.testing.check_pass import parse_model

RNG = np.random.default_rng(3)
Array = np.ndarray[Any, np.dtype[Any]]


def network(middle: str) -> onnx_ir.Model:
    """Two convolutions to 4 channels each, `middle` from a and b to m of 4 channels, and one that reads it."""
    model = parse_model(
        f"""(float[1,3,6,6] x, float[4,3,1,1] w1, float[4] b1, float[4,3,1,1] w2, float[2,4,1,1] w3,
        float low, float high, int64[5] split, int64[4] joined, int64 first) => (float[1,2,6,6] y) {{
            [one] a = Conv(x, w1, b1)
            [two] b = Conv(x, w2)
            {middle}
            [last] y = Conv(m, w3)
        }}"""
    )
    constants = {
        **{name: RNG.standard_normal((4, 3, 1, 1)) for name in ("w1", "w2")},
        "b1": RNG.standard_normal(4), "w3": RNG.standard_normal((2, 4, 1, 1)),
        "low": np.array(0.0), "high": np.array(1.0),
    }  # fmt: skip
    integers = {"split": [1, 2, 2, 6, 6], "joined": [1, 4, 6, 6], "first": 0}
    arrays = {name: array.astype(np.float32) for name, array in constants.items()}
    arrays |= {name: np.array(array, np.int64) for name, array in integers.items()}
    for value in list(model.graph.inputs):
        if value.name in arrays:
            name, value.name = value.name, None
            model.graph.inputs.remove(value)
            value.replace_all_uses_with(add_constant(model.graph, arrays[name], f"{name}.c"))
    infer_types(model)
    return model


def classes_of(model: onnx_ir.Model) -> dict[str, list[int]]:
    return {value.name or "": row.tolist() for value, row in channel_classes(model.graph).items()}


FREE = {
    "sum": "[act] r = Relu(a) [m] m = Add(r, b)",
    "clip": "[act] r = Clip(a, low, high) [m] m = Add(r, b)",
    "pool": "[act] r = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(a) [m] m = Add(r, b)",
    "shuffle": "[s] s = Reshape(a, split) [t] t = Transpose<perm=[0,2,1,3,4]>(s) [m] m = Reshape(t, joined)",
}


@pytest.mark.parametrize("middle", FREE)
def test_the_network_computes_the_same(middle: str) -> None:
    model = network(FREE[middle])
    classes = classes_of(model)
    assert FIXED not in classes["m"] and len(set(classes["m"])) == 4
    other = model.clone()
    scale_channels(other, {"m": np.array([0.25, 3.0, 1.0, 16.0])})
    feed = {"x": RNG.standard_normal((1, 3, 6, 6)).astype(np.float32)}
    np.testing.assert_allclose(run_graph(other, feed)["y"], run_graph(model, feed)["y"], rtol=1e-4, atol=1e-5)
    inner = [n.inputs[1] for n in other.graph if n.op_type == "Conv"]
    assert all(value is not None and "equalised" in (value.name or "") for value in (inner[0], inner[-1]))


def test_channels_that_are_added_share_their_class_and_shuffled_ones_move() -> None:
    added, shuffled = (classes_of(network(FREE[name])) for name in ("sum", "shuffle"))
    assert added["a"] == added["b"] == added["m"]
    assert shuffled["m"] == [shuffled["a"][i] for i in (0, 2, 1, 3)]


@pytest.mark.parametrize("middle", ["[m] m = Sigmoid(a)", "[m] m = Mul(a, b)", "[m] m = Clip(a, high, high)"])
def test_what_no_factor_passes_through(middle: str) -> None:
    classes = classes_of(network(middle))
    assert {*classes["a"], *classes["m"], *classes["x"], *classes["y"]} == {FIXED}


def test_a_batch_of_any_size() -> None:
    text = "(float[N,3,6,6] x) => (float[N,3,6,6] y) { [r] r = Relu(x) [y] y = Relu(r) }"
    assert {i for row in classes_of(parse_model(text)).values() for i in row} == {FIXED}


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"m": np.ones(3)}, "do not fit the network: 3 factors of 'm', which has 4 channels"),
        ({"a": np.ones(4), "b": np.full(4, 2.0)}, "contradict"),
        ({"y": np.full(2, 2.0)}, "contradict"),
    ],
)
def test_factors_that_do_not_fit(factors: dict[str, Array], message: str) -> None:
    with pytest.raises(PrecisionError, match=message):
        scale_channels(network(FREE["sum"]), factors)
