"""Networks as parsers leave them: the names programs search for, shapes and types."""

from __future__ import annotations

from typing import Any

import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import (
    demo_of_caffe,
    demo_of_tensorflow,
    from_onnx,
    from_torch,
    names,
)


def test_names_of_onnx(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    assert names(network) == (["x"], ["pooled", "label"])
    nodes: Any = network.get_all_nodes_in_network()
    assert [n.get_node_type() for n in nodes] == ["IConvNode", "IElementwiseNode", "IGlobalMaxPoolNode", "IArgMaxNode"]
    assert [f"{op}_" in n.get_node_name() for op, n in zip(("Conv", "Mul", "GlobalMaxPool"), nodes, strict=False)]
    assert nodes[2].get_node_name() == "GlobalMaxPool_7"
    assert network.find_node_by_name(nodes[0].get_node_name()) is nodes[0]
    assert network.find_node_by_name("nothing") is None


def test_names_of_caffe() -> None:
    assert names(demo_of_caffe()) == (["image"], ["probabilities"])


def test_names_of_tensorflow() -> None:
    inputs, outputs = names(demo_of_tensorflow())
    assert all(name.endswith(":0") for name in inputs + outputs)


@pytest.mark.parametrize("suffix", ["", ":0"])
def test_tensorflow_names_with_and_without_index(suffix: str) -> None:
    inputs, outputs = names(demo_of_tensorflow())
    plain = [[n.removesuffix(":0") + suffix for n in part] for part in (inputs, outputs)]
    assert names(demo_of_tensorflow(tf_graphdef_inputs=plain[0], tf_graphdef_outputs=plain[1])) == (inputs, outputs)


def test_names_of_pytorch(torch_file: str) -> None:
    network = from_torch(torch_file)
    assert names(network) == (["main/arg-0"], ["main/mm.matmul:0", "main/mm.sigmoid:0"])
    found = [n.get_node_name() for n in network.get_all_nodes_in_network()]
    assert found == [
        "main/mm.conv2d", "main/mm.fused_batch_norm", "main/mm.relu", "main/mm.conv_depthwise2d", "main/mm.relu-1",
        "main/mm.mean", "main/mm.matmul", "main/mm.sigmoid",
    ]  # fmt: skip


def test_pytorch_types_are_known_before_shapes(torch_file: str) -> None:
    network = from_torch(torch_file)
    assert network.get_input(0).get_dimension().GetDims() == []  # type: ignore[union-attr]
    for node in network.get_all_nodes_in_network():
        reads = [node.get_input(i).get_data_type() for i in range(node.get_input_count())]  # type: ignore[union-attr]
        makes = [node.get_output(i).get_data_type() for i in range(node.get_output_count())]  # type: ignore[union-attr]
        assert set(reads + makes) == {mm.DataType.FLOAT32}


def test_producers_and_consumers(torch_file: str) -> None:
    network = from_torch(torch_file)
    first = network.get_all_nodes_in_network()[0]
    x = network.get_input(0)
    assert x is not None and x.get_producer() is None and x.get_consumers() == [first]
    assert first.get_input(0) is x
    after = first.get_output(0).get_consumers()  # type: ignore[union-attr]
    assert [n.get_node_name() for n in after or ()] == ["main/mm.fused_batch_norm"]
    assert network.get_output(1).get_producer().get_node_name() == "main/mm.sigmoid"  # type: ignore[union-attr]


def test_every_shape_follows_the_inputs(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    x, pooled = network.get_input(0), network.get_output(0)
    assert x is not None and pooled is not None
    assert x.get_dimension().GetDims() == [1, 3, 8, 8] and pooled.get_dimension().GetDims() == [1, 4, 1, 1]
    dims = x.get_dimension().GetDims()
    dims[0] = 5
    assert x.set_dimension(mm.Dims(dims)).ok()
    assert pooled.get_dimension().GetDims() == [5, 4, 1, 1]
    assert network.get_output(1).get_data_type() is mm.DataType.INT64  # type: ignore[union-attr]
    assert x.set_dimension(mm.Dims([-1, 3, 8, 8])).ok()
    assert pooled.get_dimension().GetDims() == [-1, 4, 1, 1]


WORD: Any = "abc"


@pytest.mark.parametrize("dims", [mm.Dims([1, 3]), mm.Dims(WORD), WORD, None, mm.Dims([1, 3, 8, -7])])
def test_dims_that_do_not_fit(dims: Any, onnx_file: str) -> None:
    x = from_onnx(onnx_file).get_input(0)
    assert x is not None and not x.set_dimension(dims).ok()


def test_only_inputs_have_dims_to_set(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    assert not network.get_output(0).set_dimension(mm.Dims([1])).ok()  # type: ignore[union-attr]


def test_getters_without_such_a_thing(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    node = network.get_all_nodes_in_network()[0]
    assert network.get_input(9) is None and network.get_output(-1) is None
    assert node.get_input(9) is None and node.get_output("0") is None  # type: ignore[arg-type]
    assert not node.set_precision(9, mm.DataType.FLOAT32).ok()
    assert not node.set_output_type(0, "FLOAT32").ok()  # type: ignore[arg-type]
