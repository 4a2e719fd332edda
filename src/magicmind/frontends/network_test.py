"""What a front-end writes becomes a graph with the source's names."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir
import pytest

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.frontends.network import Network
from magicmind.graph import SourceGraph
from magicmind.ir.dims import symbol
from magicmind.ir.shape_spec import Range
from magicmind.ir.types import TensorType
from magicmind.source import CHANNELS_FIRST

FLOAT = onnx_ir.DataType.FLOAT


def network() -> Network:
    net = Network("net")
    net.input("data", TensorType(FLOAT, (symbol("n"), 3, 8, 8)))
    return net


def names(model: onnx_ir.Model) -> list[tuple[str | None, str | None]]:
    return [(node.name, node.outputs[0].name) for node in model.graph]


def test_nodes_are_named_after_layers_and_values_after_their_results() -> None:
    net = network()
    with net.at("conv1/act"):
        net.bind("act", net.op("Add", net.op("Relu", net.values["data"]), net.const(1.0, np.float32)))
    assert names(net.model({"act": net.values["act"]})) == [
        ("conv1/act", "conv1/act.out0"),
        ("conv1/act.Add1", "act"),
    ]


def test_a_layer_in_place_takes_the_name() -> None:
    net = network()
    for layer, op_type in (("conv1", "Abs"), ("relu1", "Relu")):
        with net.at(layer):
            net.bind("conv1", net.op(op_type, net.values["data" if layer == "conv1" else "conv1"]))
    assert names(net.model({"conv1": net.values["conv1"]})) == [("conv1", "conv1@0"), ("relu1", "conv1")]


def test_an_input_as_an_output_is_copied() -> None:
    net = network()
    model = net.model({"same": net.values["data"]})
    assert names(model) == [("same/output", "same")]
    with pytest.raises(ModelFormatError, match="'data' names an input and an output"):
        with net.at("relu"):
            relu = net.op("Relu", net.values["data"])
        net.model({"data": relu})


def test_a_misfit_is_reported_where_it_is_made() -> None:
    net = network()
    with pytest.raises(ShapeError):
        net.op("MatMul", net.values["data"], net.const(np.zeros((3, 3), np.float32)))


def test_bodies_are_typed_with_the_node_they_belong_to() -> None:
    net = network()
    bodies: dict[str, Any] = {}
    for name, op_type in (("then_branch", "Relu"), ("else_branch", "Abs")):
        body = net.nested(name)
        bodies[name] = body.graph({"out": body.op(op_type, net.values["data"])})
    chosen = net.op("If", net.const(True), **bodies)
    assert net.shape(chosen) == (symbol("n"), 3, 8, 8)


def test_sizes_are_numbers_or_computed_from_what_has_them() -> None:
    net = network()
    x = net.values["data"]
    n = symbol("n")
    assert net.shape_vector(2, 3).const_value is not None
    assert net.shape(net.op("Expand", net.const(1.0, np.float32), net.shape_vector(n * 4 + 1, 8 // 2, n % 3))) == (
        n * 4 + 1,
        4,
        n % 3,
    )
    padded = net.op("Reshape", x, net.shape_vector(-1 * n + 2 * n, 192))
    assert net.shape(padded) == (n, 192)


class Doubled:
    """A source of one input whose rank the file does not say."""

    layout = CHANNELS_FIRST

    inputs: Mapping[str, TensorType] = MappingProxyType({"x": TensorType(FLOAT, None)})
    outputs: Sequence[str] = ("y",)

    def convert(self, inputs: Mapping[str, TensorType], ranges: Mapping[str, Range]) -> onnx_ir.Model:
        net = Network()
        x = net.input("x", inputs["x"])
        return net.model({"y": net.reshape(net.op("Add", x, x), -1)})


def test_a_graph_waits_for_the_shapes_that_the_file_leaves_open() -> None:
    graph = SourceGraph.of(Doubled())
    assert graph.inputs[0].shape == ()
    with pytest.raises(ShapeError, match="input 'x' is not known") as error:
        _ = graph.model
    assert 'shapes={"x"' in str(error.value)
    shaped = graph.with_shapes({"x": ("1..4", 3)})
    assert shaped.inputs[0].shape == ((1, 4), 3)
    assert shaped.outputs[0].shape == ((3, 12),)
    assert shaped.with_shapes({"x": (2, 5, 7)}).outputs[0].shape == (70,)
