"""Channels between convolutions: stretched without a change of what the network computes, and worth it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import magicmind
from magicmind.errors import PrecisionError
from magicmind.ir.types import shape_of
from magicmind.ops.reference import run_graph
from magicmind.passes.edit import add_constant
from magicmind.quant.channels import FIXED, channel_classes, scale_channels
from magicmind.quant.equalise_test import chain
from magicmind.quant.observe import Observed, Watch
from magicmind.quant.scales import scale_of
from magicmind.quant.stretch import BOUND, stretched
from magicmind.quant.table import Scales
from magicmind.testing.check_pass import parse_model

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(1)
ACTIVATIONS = ["Relu({})", "Clip({}, low, high)"]


def feeds(count: int) -> list[dict[str, Array]]:
    return [{"x": RNG.standard_normal((1, 3, 5, 5)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_network_computes_the_same(activation: str) -> None:
    model = chain(activation)
    other = model.clone()
    scale_channels(other, {"u": np.array([2.0, 1.0, 0.5, 16.0]), "no such tensor": np.ones(4)})
    assert [n.op_type for n in other.graph] != [n.op_type for n in model.graph] or "Relu" in activation
    for feed in feeds(3):
        wanted, got = (run_graph(m, feed)["y"] for m in (model, other))
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_weak_channels_grow_and_factors_are_bounded() -> None:
    graph = chain("Relu({})").graph
    seen: dict[str, Observed] = {}
    for name, sizes in (("u", [12, -6, 0.01, 0]), ("z", [1, 1, 1, 1])):
        x = np.zeros((1, 4, 2, 2), np.float32)
        x[0, :, 0, 0] = sizes
        seen[name] = Observed()
        seen[name].add(x, Watch(axis=1, channels=True))
    classes = channel_classes(graph)
    scaled = [value for value in classes if value.name in seen]
    found = stretched(graph, classes, scaled, seen, symmetric=False)
    u = found[next(row for value, row in classes.items() if value.name == "u")]
    assert 4 * u[0] < u[2]
    assert u[2] <= BOUND**2 * u[0]
    assert u[3] == 1  # it shows nothing
    assert found[FIXED] == 1
    assert found.max() <= BOUND and found.min() >= 1 / BOUND


def test_weights_hold_factors_back() -> None:
    """Without a convolution over all channels behind it, a tensor's channels come to one range; else some less."""

    def spread(depthwise: bool) -> float:
        kind, weights, outputs = ("group=4", "4,1,1,1", 4) if depthwise else ("group=1", "2,4,1,1", 2)
        model = parse_model(
            f"""(float[1,3,5,5] x, float[4,3,1,1] w1, float[{weights}] w2) => (float[1,{outputs},5,5] y) {{
                [first] u = Conv(x, w1)
                [second] y = Conv<{kind}>(u, w2)
            }}"""
        )
        for value in list(model.graph.inputs)[1:]:
            shape = shape_of(value)
            assert shape is not None
            name, value.name = value.name, None
            model.graph.inputs.remove(value)
            ones = np.ones([int(n) for n in shape if isinstance(n, int)], np.float32)
            value.replace_all_uses_with(add_constant(model.graph, ones, f"{name}.c"))
        observed = Observed()
        noise = np.random.default_rng(7).standard_normal((1, 4, 64, 64)) * np.array([1, 2, 4, 8]).reshape(1, 4, 1, 1)
        observed.add(noise.astype(np.float32), Watch(axis=1, channels=True))
        classes = channel_classes(model.graph)
        (value,) = (v for v in classes if v.name == "u")
        found = stretched(model.graph, classes, [value], {"u": observed}, symmetric=False)[classes[value]]
        assert observed.channels is not None
        reach = found * (observed.channels.highs - observed.channels.lows)
        return float(reach.max() / reach.min())

    assert spread(depthwise=True) < 1.4
    assert 1.4 < spread(depthwise=False) < 6


@pytest.mark.slow
def test_depthwise_networks_lose_less(tmp_path: Path) -> None:
    """Than with the same ranges for unstretched channels. Scales that were saved give the same, and int16 next to no
    noise."""
    graph = magicmind.Graph(chain("Relu({})"))
    data, held_out = feeds(16), feeds(8)

    def outputs(**how: Any) -> Array:
        with magicmind.build(graph, **how) as model, model.session(threads=1) as session:
            return np.concatenate([session.run(feed)["y"] for feed in held_out]).astype(np.float64)

    def noise(y: Array) -> float:
        return float(((y - wanted) ** 2).sum() / (wanted**2).sum())

    wanted = outputs()
    scales = magicmind.calibrate(graph, data)
    assert scales.factors["u"].max() > 2
    low, high = scales.tensors["u"].low, scales.tensors["u"].high
    scales.save(tmp_path / "scales.json")
    means = {**scales.means, "u": scales.means["u"] / scales.factors["u"]}
    as_they_were = replace(scales, tensors={**scales.tensors, "u": scale_of(low, high)}, means=means, factors={})
    found = outputs(precision="qint8_mixed_float32", scales=tmp_path / "scales.json")
    np.testing.assert_array_equal(found, outputs(precision="qint8_mixed_float32", calibration=data))
    assert noise(found) < noise(outputs(precision="qint8_mixed_float32", scales=as_they_were))
    assert noise(outputs(precision="qint16_mixed_float32", calibration=data)) < 1e-6


@pytest.mark.parametrize("factors", [[1, 0], "many", [float("nan")], []])
def test_edited_factors_are_checked(factors: Any) -> None:
    document = Scales({}).to_json()
    with pytest.raises(PrecisionError, match="factors of 'u'"):
        Scales.of_json(json.loads(json.dumps({**document, "factors": {"u": factors}})))


@pytest.mark.parametrize("per_axis", [True, False])
def test_kinds_of_products_may_have_another_granularity(per_axis: bool, tmp_path: Path) -> None:
    """Which the other products do not get, and nothing is stretched whose weights have one scale."""
    how = magicmind.Quantisation(per_axis=per_axis, per_axis_of={"depthwise": not per_axis})
    graph, data = magicmind.Graph(chain("Relu({})")), feeds(4)
    assert not magicmind.calibrate(graph, data, how).factors
    magicmind.export_qdq(graph, tmp_path / "net.onnx", calibration=data, quantisation=how)
    model = onnx.load(tmp_path / "net.onnx")
    sizes = {t.name: t.dims for t in model.graph.initializer}
    scales = {n.output[0]: sizes[n.input[1]] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    by_name = {n.name: list(scales[n.input[1]]) for n in model.graph.node if n.op_type == "Conv"}
    if per_axis:
        assert by_name == {"first": [4], "second": [], "third": [2]}
    else:
        assert by_name == {"first": [], "second": [4], "third": []}


@pytest.mark.parametrize("given", [{"pool": True}, {"conv": 1}])
def test_granularities_of_nothing(given: Any) -> None:
    with pytest.raises(PrecisionError, match="per_axis_of"):
        magicmind.Quantisation(per_axis_of=given)
