"""Equalisation changes weights and nothing that the network computes."""

from __future__ import annotations

import numpy as np
import onnx_ir
import pytest

from magicmind.ir.types import const_of
from magicmind.ops.reference import run_graph
from magicmind.passes.edit import add_constant
from magicmind.quant.equalise import equalise
from magicmind.testing.check_pass import parse_model

RNG = np.random.default_rng(0)


def chain(activation: str) -> onnx_ir.Model:
    """1x1, activation, depthwise, activation, 1x1; channels of very different size."""
    model = parse_model(
        f"""(float[1,3,5,5] x, float[4,3,1,1] w1, float[4] b1, float[4,1,3,3] w2, float[4] b2, float[2,4,1,1] w3,
        float low, float high) => (float[1,2,5,5] y) {{
            [first] t = Conv(x, w1, b1)
            [act1] u = {activation.format("t")}
            [second] v = Conv<group=4, pads=[1,1,1,1]>(u, w2, b2)
            [act2] z = {activation.format("v")}
            [third] y = Conv(z, w3)
        }}"""
    )
    graph = model.graph
    sizes = np.array([0.01, 1, 30, 5])
    constants = {
        "w1": RNG.standard_normal((4, 3, 1, 1)) * sizes.reshape(-1, 1, 1, 1),
        "b1": RNG.standard_normal(4), "w2": RNG.standard_normal((4, 1, 3, 3)), "b2": RNG.standard_normal(4),
        "w3": RNG.standard_normal((2, 4, 1, 1)), "low": np.array(0.0), "high": np.array(6.0),
    }  # fmt: skip
    for value in list(graph.inputs):
        if value.name in constants:
            name, value.name = value.name, None
            graph.inputs.remove(value)
            value.replace_all_uses_with(add_constant(graph, constants[name].astype(np.float32), f"{name}.c"))
    return model


def peaks(model: onnx_ir.Model, name: str) -> np.ndarray:
    node = next(n for n in model.graph if n.name == name)
    array = const_of(node.inputs[1])
    assert array is not None
    return np.asarray(np.abs(array).reshape(array.shape[0], -1).max(1))


@pytest.mark.parametrize("activation", ["Relu({0})", "Clip({0}, low, high)"])
def test_the_outputs_stay(activation: str) -> None:
    model = chain(activation)
    feeds = {"x": RNG.standard_normal((1, 3, 5, 5)).astype(np.float32)}
    before, spread = run_graph(model, feeds)["y"], peaks(model, "first")
    assert equalise(model) == 2
    np.testing.assert_allclose(run_graph(model, feeds)["y"], before, rtol=1e-4, atol=1e-4)
    after = peaks(model, "first")
    assert after.max() / after.min() < 0.1 * spread.max() / spread.min()
    np.testing.assert_allclose(peaks(model, "first"), peaks(model, "second"), rtol=0.05)


def test_what_is_not_homogeneous_is_left() -> None:
    model = chain("HardSwish({0})")
    assert equalise(model) == 0


def test_channels_of_zeros_are_left() -> None:
    model = chain("Relu({0})")
    node = next(iter(model.graph))
    weights = const_of(node.inputs[1])
    assert weights is not None
    zeroed = weights.copy()
    zeroed[2] = 0
    node.replace_input_with(1, add_constant(model.graph, zeroed, "zeroed"))
    feeds = {"x": RNG.standard_normal((1, 3, 5, 5)).astype(np.float32)}
    before = run_graph(model, feeds)["y"]
    equalise(model)
    np.testing.assert_allclose(run_graph(model, feeds)["y"], before, rtol=1e-4, atol=1e-4)
