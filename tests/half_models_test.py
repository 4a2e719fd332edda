"""Networks in float16 against the same in float32: small ones of well-known families, and published ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networks_test as networks
import numpy as np
import onnx
import pytest
from netbuilder import Net

import magicmind

Array = np.ndarray[Any, np.dtype[Any]]
HALF = "force_float16"

SMALL = [
    networks.residual, networks.grouped, networks.mobile_inverted, networks.shuffle, networks.squeeze_excite,
]  # fmt: skip


def feeds_of(proto: onnx.ModelProto) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def close(got: Array, want: Array, tolerance: float) -> bool:
    return bool(np.abs(got - want).max() <= tolerance * np.abs(want).max())


def compare(proto: onnx.ModelProto, tolerance: float) -> magicmind.Model:
    """The float16 model, after a check: its ends are float32, its results near, on any number of threads the same."""
    feeds = feeds_of(proto)
    want = magicmind.build(magicmind.parse(proto)).session().run(feeds)
    model = magicmind.build(magicmind.parse(proto), HALF)
    got = [model.session(threads=threads).run(feeds) for threads in (1, 2)]
    for name, expected in want.items():
        assert got[0][name].dtype == np.float32
        assert close(got[0][name], expected, tolerance), name
        np.testing.assert_array_equal(got[0][name], got[1][name])
    return model


@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.__name__)
def test_small_networks(network: Callable[[], onnx.ModelProto]) -> None:
    assert compare(network(), 2e-3).info()["precision"] == HALF


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("hidden", [24, 130])
def test_recurrences_keep_their_states_in_float32(kind: str, hidden: int) -> None:
    """Between two products the sequence is float16, and so are the weights; the last states are outputs."""
    net, gates = Net(), {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    x = net.op("MatMul", net.input("x", (7, 2, 20)), net.floats(20, 33))
    weights = [net.floats(1, gates * hidden, n, low=-(n**-0.5), high=n**-0.5) for n in (33, hidden)]
    bias = net.floats(1, 2 * gates * hidden)
    y, last = net.ops(kind, 2, x, *weights, bias, hidden_size=hidden)
    y = net.op("MatMul", net.op("Squeeze", y, net.const(np.array([1]))), net.floats(hidden, 5))
    steps = compare(net.model(y, last), 4e-3).info()["steps"]
    assert [step["kernel"].partition("_")[0] for step in steps if step["op"] == kind] == ["f16", "f16"]
