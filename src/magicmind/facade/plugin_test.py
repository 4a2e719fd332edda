"""Nodes of plugins, added through the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind import plugin
from magicmind.plugin import TensorSpec
from magicmind.testing.magicmind_api import build, run, run_model

Array = np.ndarray[Any, np.dtype[Any]]
X = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32) * 8


def mix_types(
    parts: list[TensorSpec], scale: TensorSpec | None = None, *, gain: float, mode: str = "sum"
) -> list[TensorSpec]:
    return [parts[0], TensorSpec(np.dtype(np.int32), (len(parts),))]


def mix(parts: list[Array], scale: Array | None = None, *, gain: float, mode: str = "sum") -> tuple[Array, Array]:
    whole: Array = np.sum(parts, axis=0) if mode == "sum" else np.max(parts, axis=0)
    counts = np.arange(len(parts), dtype=np.int32)
    return (whole * np.float32(gain) * (1 if scale is None else scale)).astype(np.float32), counts


@pytest.fixture(autouse=True)
def plugins() -> Iterator[None]:
    """Two of them, for the time of a test."""
    plugin.load_plugins([Path(__file__).parents[3] / "examples" / "plugin_relu.py"])
    plugin.register("Mix", types=mix_types, compute=mix, outputs=["mixed", "order"], variadic=["parts"], domain="mine")
    yield
    for found in list(plugin.PLUGINS.values()):
        plugin.unregister(found.name, found.domain)


def result(node: mm.INode, i: int = 0) -> mm.ITensor:
    found = node.get_output(i)
    assert found is not None
    return found


def network(count: int) -> tuple[mm.Network, list[mm.ITensor]]:
    made = mm.Network()
    tensors = [made.add_input(mm.DataType.FLOAT32, mm.Dims([2, 5])) for _ in range(count)]
    return made, [t for t in tensors if t is not None]


def test_the_sample_plugin() -> None:
    made, (x,) = network(1)
    node = made.add_i_plugin_node("PluginReLU", {"input": x}, {"output": mm.DataType.FLOAT32})
    assert node is not None and node.get_node_type() == "IPluginNode" and node.get_node_name() == "main/mm.plugin"
    assert node.set_attr("Dim", [2, 5]).ok() and node.set_attr("FuncType", 1).ok()
    status = node.set_attr("Colour", 1)
    assert not status.ok() and "'Colour'" in str(status)
    assert made.mark_output(result(node)).ok()
    assert result(node).get_dimension().GetDims() == [2, 5]
    np.testing.assert_array_equal(run(made, X)[0], np.clip(X, 0, 6))


def test_lists_and_several_results(tmp_path: Path) -> None:
    made, (x, y) = network(2)
    node = made.add_i_plugin_node("mine.Mix", {"parts": [x, y]}, {"gain": 2, "mixed": mm.DataType.FLOAT32})
    assert node is not None and node.get_output_count() == 2 and node.get_input_count() == 2
    assert all(made.mark_output(result(node, k)).ok() for k in range(2))
    model = build(made)
    found = run_model(model, X, X + 1)
    np.testing.assert_array_equal(found[0], (X + (X + 1)) * 2)
    assert found[1].tolist() == [0, 1]
    assert model.serialize_to_file(str(tmp_path / "model")).ok()
    plugin.unregister("Mix", "mine")
    status = mm.Model().deserialize_from_file(str(tmp_path / "model"))
    assert not status.ok() and "mine.Mix" in str(status) and "--plugin_path" in str(status)


@pytest.mark.parametrize(
    "name, inputs, attributes, text",
    [
        ("Nothing", {}, {}, "no plugin 'Nothing' is registered; known: mine.Mix, plugin.PluginReLU"),
        ("Mix", {"part": 0}, {}, "no input 'part'"),
        ("Mix", [0], {}, "by name"),
        ("Mix", {"parts": [0]}, {"colour": 1}, "no attribute 'colour'; it has gain, mode"),
    ],
)
def test_what_does_not_fit_is_in_the_log(
    name: str, inputs: Any, attributes: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, (x,) = network(1)

    def real(value: Any) -> Any:
        return {k: real(v) for k, v in value.items()} if isinstance(value, dict) else [x] if value == [0] else x

    given: Any = real(inputs) if isinstance(inputs, dict) else [x]
    assert made.add_i_plugin_node(name, given, attributes) is None
    assert text in caplog.text


def test_an_attribute_that_is_needed_is_missed_when_the_model_is_built() -> None:
    made, (x,) = network(1)
    node = made.add_i_plugin_node("Mix", {"parts": [x]})
    assert node is not None and made.mark_output(result(node)).ok()
    builder = mm.Builder()
    assert builder.build_model("network", made, mm.BuilderConfig()) is None
    assert "attribute 'gain' of mine.Mix is missing" in str(builder.status)
