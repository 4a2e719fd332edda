"""Networks that programs change: outputs, added nodes, other inputs of nodes, graphs by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import (
    FIXED,
    build,
    from_onnx,
    from_torch,
    run,
    run_model,
)

PIXELS = np.random.default_rng(2).integers(0, 256, (2, 3, 8, 8)).astype(np.uint8)


def test_outputs_are_unmarked_and_marked(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    pooled = network.get_output(0)
    assert pooled is not None
    for _ in range(network.get_output_count()):
        assert network.unmark_output(network.get_output(0)).ok()  # type: ignore[arg-type]
    assert network.get_output_count() == 0
    assert not network.unmark_output(pooled).ok()
    axes = network.add_i_const_node(mm.DataType.INT32, mm.Dims([4]), [0, 2, 3, 1])
    turned = network.add_i_permute_node(pooled, axes.get_output(0))
    assert network.mark_output(turned.get_output(0)).ok() and not network.mark_output(turned).ok()
    found = run(network, PIXELS[:1], config=FIXED)
    assert len(found) == 1
    np.testing.assert_allclose(found[0], run(from_onnx(onnx_file), PIXELS[:1], config=FIXED)[0].transpose(0, 2, 3, 1))


def test_added_nodes_are_numbered_and_named(torch_file: str) -> None:
    network = from_torch(torch_file)
    kind = mm.IActivation.RELU
    first = network.add_i_activation_node(network.get_output(1), kind)
    second = network.add_i_activation_node(first, activation_type=kind)
    assert first.get_node_type() == "IActivationNode"
    assert (first.get_node_name(), second.get_node_name()) == ("main/mm.activation", "main/mm.activation-1")
    assert first.set_node_name("mine").ok() and network.find_node_by_name("mine") is first
    assert network.find_node_by_name("main/mine") is first
    assert not network.get_all_nodes_in_network()[0].set_node_name("x").ok()


def test_a_node_reads_something_else(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    pool = network.get_all_nodes_in_network()[2]
    half = network.add_i_square_node(pool.get_input(0))
    assert pool.update_input(0, half).ok()
    found = run(network, PIXELS[:1], config=FIXED)[0]
    plain = from_onnx(onnx_file)
    squared = plain.add_i_square_node(plain.get_all_nodes_in_network()[1].get_output(0))
    axes = plain.add_i_const_node(mm.DataType.INT32, mm.Dims([2]), [2, 3])
    most = plain.add_i_reduce_node(squared, axes, mm.IReduce.MAX, True)
    assert plain.mark_output(most).ok()
    np.testing.assert_allclose(found, run(plain, PIXELS[:1], config=FIXED)[2], rtol=1e-5)


def test_a_graph_by_hand_with_sizes_that_the_run_tells() -> None:
    """A mask of the first `length` of `limit` positions, as one speech program makes it."""
    network = mm.Network()
    limit, length = (network.add_input(mm.DataType.INT32, mm.Dims([1])) for _ in range(2))
    zero, one = (network.add_i_const_node(mm.DataType.INT32, mm.Dims([]), [v]).get_output(0) for v in (0, 1))
    zero = network.add_i_const_node(dtype=mm.DataType.INT32, dimensions=mm.Dims([1]), value=[0]).get_output(0)
    ids = network.add_i_range_node(zero, limit, one)
    mask = network.add_i_logic_node(ids.get_output(0), length, mm.enums.ILogic.LT)
    assert network.mark_output(mask.get_output(0)).ok()
    model = mm.Builder().build_model("mask", network, mm.BuilderConfig())
    assert model is not None
    np.testing.assert_array_equal(run_model(model, np.array([5]), np.array([3]))[0], [1, 1, 1, 0, 0])


def test_a_slice_whose_size_is_an_input() -> None:
    network = mm.Network()
    mel = network.add_input(mm.DataType.FLOAT32)  # unranked: the lowest rank that its nodes allow
    size = network.add_input(mm.DataType.INT32, mm.Dims([]))
    begin, axis = (network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), [v]).get_output(0) for v in (0, 2))
    part = network.add_i_slice_node(mel, begin, size, axis)
    assert network.mark_output(part.get_output(0)).ok()
    model = mm.Builder().build_model("crop", network, mm.BuilderConfig())
    assert model is not None
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 6)
    np.testing.assert_array_equal(run_model(model, x, np.array(4))[0], x[:, :, :4])


WRONG_NODES: dict[str, Callable[[Any, Any], Any]] = {
    "no operands": lambda n, x: n.add_i_permute_node(),
    "a number for a tensor": lambda n, x: n.add_i_square_node(3),
    "a tensor for a list": lambda n, x: n.add_i_concat_node(0, x),
    "another network's tensor": lambda n, x: n.add_i_square_node(mm.Network().add_input(mm.DataType.FLOAT32)),
    "too many": lambda n, x: n.add_i_square_node(x, x),
    "an unknown name": lambda n, x: n.add_i_square_node(tensor=x),
    "no parts": lambda n, x: n.add_i_split_node(x, 0, 0),
}


@pytest.mark.parametrize("what", WRONG_NODES)
def test_nodes_that_cannot_be_added(what: str) -> None:
    network = mm.Network()
    assert WRONG_NODES[what](network, network.add_input(mm.DataType.FLOAT32, mm.Dims([2]))) is None


def test_shapes_behind_a_node_of_the_file_that_reads_something_else(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    pool = network.get_all_nodes_in_network()[2]
    assert pool.update_input(0, network.get_input(0)).ok()  # type: ignore[arg-type]
    assert network.get_output(0).get_dimension().GetDims() == [1, 3, 1, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_weights_of_the_file_are_edited(kind: str, onnx_file: str, torch_file: str) -> None:
    """As one converter exchanges red and blue: the first convolution's filter is split, and joined in reverse."""

    def load() -> Any:
        network = from_onnx(onnx_file) if kind == "onnx" else from_torch(torch_file)
        assert network.get_input(0).set_dimension(mm.Dims([1, 3, 8, 8])).ok()  # type: ignore[union-attr]
        return network

    network = load()
    (first,) = network.get_input(0).get_consumers()
    assert first.get_node_type() == "IConvNode"
    weight = first.get_input(1)
    assert weight.get_dimension().GetDims()[1:] == [3, 3, 3]
    axis = network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), 1)
    parts = network.add_i_split_node(weight, axis.get_output(0), 3)
    joined = network.add_i_concat_node(axis.get_output(0), [parts.get_output(i) for i in (2, 1, 0)])
    assert first.update_input(1, joined.get_output(0)).ok()
    x = PIXELS[:1].astype(np.float32)
    found, expected = run(network, x[:, ::-1], config=FIXED), run(load(), x, config=FIXED)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_inputs_of_unknown_rank_have_each_their_lowest() -> None:
    network = mm.Network()
    frames, lengths = network.add_input(mm.DataType.FLOAT32), network.add_input(mm.DataType.INT32)
    zero, two = (network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), [value]).get_output(0) for value in (0, 2))
    longest = network.add_i_reduce_node(lengths, zero, mm.IReduce.MAX, False).get_output(0)
    assert network.mark_output(network.add_i_slice_node(frames, zero, longest, two).get_output(0)).ok()
    model = build(network)
    assert [dims.GetDims() for dims in model.get_input_dimensions()] == [[-1, -1, -1], [-1]]
    x = np.arange(72, dtype=np.float32).reshape(2, 4, 9)
    for counts in (np.array([5, 3], np.int32), np.array([[5], [3]], np.int32)):  # sizes of one at the end are no part
        np.testing.assert_array_equal(run_model(model, x, counts)[0], x[:, :, :5])


def test_the_rank_of_one_input_beside_a_fixed_size_of_another() -> None:
    network = mm.Network()
    lengths, limit = network.add_input(mm.DataType.INT32), network.add_input(mm.DataType.INT32, mm.Dims([1]))
    zero, one = (network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), [v]).get_output(0) for v in (0, 1))
    ids = network.add_i_range_node(zero, limit, one).get_output(0)
    column = network.add_i_unsqueeze_node(lengths, one).get_output(0)
    assert network.mark_output(network.add_i_logic_node(ids, column, mm.enums.ILogic.LT).get_output(0)).ok()
    found = run_model(build(network), np.array([2, 3], np.int32), np.array([3], np.int32))[0]
    np.testing.assert_array_equal(found, [[1, 1, 0], [1, 1, 1]])
