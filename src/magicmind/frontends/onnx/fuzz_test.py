"""Damaged files: whatever happens to the bytes, only our own errors come out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import magicmind

SEED = 20240


def network() -> bytes:
    """A small network with many encodings: raw and typed tensors, attributes of every kind, shape arithmetic."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1], auto_pad="NOTSET"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Shape", ["p"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "first"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["p", "target"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["y"], transB=1, alpha=1.5),
        helper.make_node("Constant", [], ["k"], value_floats=[1.0, 2.0]),
        helper.make_node("Resize", ["p", "", "scales"], ["z"], mode="linear"),
    ]
    tensors = [
        numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w"),
        helper.make_tensor("b", TensorProto.FLOAT, [4], [0.0, 1.0, 2.0, 3.0]),
        helper.make_tensor("zero", TensorProto.INT64, [], [0]),
        helper.make_tensor("first", TensorProto.INT64, [1], [0]),
        numpy_helper.from_array(np.array([-1], np.int64), "rest"),
        numpy_helper.from_array(rng.standard_normal((5, 64)).astype(np.float32), "g"),
        numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
    ]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("y", "z")],
        tensors,
    )  # fmt: skip
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def parses_or_refuses(data: bytes) -> bool:
    """Whether `data` parses; any exception that is not ours fails the test."""
    try:
        magicmind.parse(data)
    except magicmind.Error:
        return False
    return True


def test_the_network_itself_parses() -> None:
    graph = magicmind.parse(network())
    assert [i.shape for i in graph.outputs] == [((1, None), 5), ((1, None), 4, 8, 8)]


def test_truncated_anywhere() -> None:
    data = network()
    for end in {*range(0, 64), *range(64, len(data), 7)}:
        assert not parses_or_refuses(data[:end]) or end > len(data) // 2


@pytest.mark.parametrize("flips", [1, 4, 32])
def test_flipped_bytes(flips: int) -> None:
    data, rng = network(), np.random.default_rng(SEED + flips)
    for _ in range(150):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), flips):
            damaged[position] = rng.integers(0, 256)
        parses_or_refuses(bytes(damaged))


def test_random_bytes() -> None:
    rng = np.random.default_rng(SEED)
    assert not any(parses_or_refuses(rng.bytes(int(n))) for n in rng.integers(1, 400, 100))


def test_attributes_of_another_type() -> None:
    """Every attribute in turn becomes an integer, a text, a list or vanishes."""
    model = onnx.ModelProto.FromString(network())
    for n, node in enumerate(model.graph.node):
        for a in range(len(node.attribute)):
            name = node.attribute[a].name
            for wrong in (7, -1, 2**62, "text", [0, 0], [-3, 2**62, 5], 0.5):
                damaged = onnx.ModelProto()
                damaged.CopyFrom(model)
                damaged.graph.node[n].attribute[a].CopyFrom(helper.make_attribute(name, wrong))
                parses_or_refuses(damaged.SerializeToString())
