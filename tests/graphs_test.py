"""Unusual graphs: what is an output of what, scalars, constants, names, dims of one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from netbuilder import Net, check_model, check_outputs

import magicmind


def test_an_output_that_is_also_read_inside() -> None:
    n = Net()
    first = n.block(n.input("x", (1, 3, 9, 9)), 3, 20)
    second = n.op("Relu", n.conv(first, 20, 20))
    check_model(n.model(first, n.op("Add", first, second), second))


def test_the_sum_before_an_activation_is_an_output_too() -> None:
    n = Net()
    x = n.input("x", (1, 17, 6, 6))
    total = n.op("Add", n.conv(x, 17, 17), x)
    check_model(n.model(n.op("Relu", total), total))


def test_an_input_as_output() -> None:
    n = Net()
    x = n.input("x", (2, 5))
    model = n.model(n.op("Relu", x))
    model.graph.output.append(onnx.ValueInfoProto(name="x"))
    check_model(model)


def test_only_an_identity() -> None:
    n = Net()
    check_model(n.model(n.op("Identity", n.input("x", (3,)))))


def test_a_constant_as_output() -> None:
    n = Net()
    table = n.floats(3, 4)
    y = n.op("Relu", n.input("x", (1, 4)))
    check_model(n.model(y, table, n.op("Neg", table)))


def test_outputs_of_equal_value() -> None:
    n = Net()
    x = n.input("x", (1, 4, 5, 5))
    y = n.op("Relu", x)
    check_model(n.model(y, n.op("Relu", x), n.op("Identity", y), n.op("Reshape", y, n.const(np.array([4, 25])))))


def test_one_convolution_feeds_outputs_in_both_layouts() -> None:
    n = Net()
    y = n.conv(n.input("x", (1, 3, 8, 8)), 3, 24)
    flat = n.op("Flatten", y)
    check_model(n.model(y, flat, n.op("Relu", y), n.op("Transpose", y, perm=[0, 2, 3, 1])))


def test_every_piece_of_a_split_is_an_output() -> None:
    n = Net()
    parts = n.ops("Split", 3, n.input("x", (2, 7, 3)), n.const(np.array([1, 4, 2])), axis=1)
    check_model(n.model(*parts))


def test_scalars_in_and_out() -> None:
    n = Net()
    a, b = n.input("a", ()), n.input("b", ())
    x = n.input("x", (2, 3))
    check_model(n.model(n.op("Add", a, b), n.op("Mul", x, a), n.op("ReduceSum", x, keepdims=0)))


def test_unused_inputs_are_asked_for() -> None:
    n = Net()
    x, _ = n.input("x", (2,)), n.input("unused", (3, 3))
    check_model(n.model(n.op("Abs", x)))


def test_inputs_of_several_types() -> None:
    n = Net()
    flags, index, x = n.input("flags", (4,), np.bool_), n.input("index", (4,), np.int64), n.input("x", (4,))
    chosen = n.op("Where", flags, x, n.op("Cast", index, to=onnx.TensorProto.FLOAT))
    feeds = {
        "flags": np.array([True, False, True, False]),
        "index": np.array([3, -4, 5, 6]),
        "x": np.array([0.5, 1.5, 2.5, 3.5], np.float32),
    }
    check_model(n.model(chosen, n.op("Add", index, index), n.op("Not", flags)), feeds=feeds)


def test_names_with_odd_characters() -> None:
    n = Net()
    x = n.input("in/put:0 (é)", (1, 2))
    n.nodes.append(onnx.helper.make_node("Relu", [x], ["out\\put %s"], name="a b"))
    check_model(n.model("out\\put %s"))


def test_shape_arithmetic_on_a_mutable_batch() -> None:
    n = Net()
    x = n.conv(n.input("x", ("batch", 3, 8, 8)), 3, 6)
    size = n.op("Gather", n.op("Shape", x), n.const(np.array(0)))
    shape = n.op("Concat", n.op("Unsqueeze", size, n.const(np.array([0]))), n.const(np.array([-1])), axis=0)
    y = n.op("Reshape", x, shape)
    check_model(n.model(y, n.op("Shape", y)), shapes={"x": ("1..9", 3, 8, 8)}, runs=[{"batch": 1}, {"batch": 9}])


def test_one_symbol_in_two_inputs() -> None:
    n = Net()
    a, b = n.input("a", ("N", 3)), n.input("b", ("N", 3))
    check_model(n.model(n.op("Concat", a, n.op("Sub", a, b), axis=1)), runs=[{"N": 1}, {"N": 5}])


def test_an_output_listed_twice() -> None:
    n = Net()
    y = n.op("Relu", n.input("x", (2, 3)))
    model = n.model(y, n.op("Neg", y))
    graph = magicmind.parse(model)
    graph.model.graph.outputs.append(graph.model.graph.outputs[0])
    x = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
    with magicmind.build(graph) as built, built.session() as session:
        assert len(built.outputs) == 3
        check_outputs(session.run({"x": x}), {y: np.maximum(x, 0), model.graph.output[1].name: -np.maximum(x, 0)})


@pytest.mark.parametrize("channels", [1, 2, 15, 16, 17, 31, 33])
def test_channel_counts_around_the_block(channels: int) -> None:
    n = Net()
    x = n.conv(n.input("x", (1, channels, 5, 4)), channels, channels)
    x = n.op("MaxPool", n.op("Sigmoid", x), kernel_shape=[2, 2])
    x = n.op("Add", n.conv(x, channels, channels, group=channels), x)
    check_model(n.model(n.op("ReduceMean", x, n.const(np.array([1])), keepdims=1), x))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_images_smaller_than_the_kernel(size: tuple[int, int]) -> None:
    n = Net()
    x = n.conv(n.input("x", (1, 16, *size)), 16, 16, 5)
    x = n.conv(x, 16, 16, 3, strides=[2, 2])
    check_model(n.model(n.conv(x, 16, 16, 7, group=16)))


def test_an_old_operator_set_with_upsampling() -> None:
    n = Net(opset=9)
    x = n.op("Relu", n.batch_norm(n.conv(n.input("x", (1, 3, 8, 8)), 3, 8), 8))
    x = n.op("Upsample", x, n.const(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    check_model(n.model(n.op("Softmax", n.op("Flatten", x), axis=1)))


def test_saved_graph_builds_to_the_same_results(tmp_path: object) -> None:
    n = Net()
    model = n.model(n.block(n.input("x", ("N", 3, 8, 8)), 3, 8))
    graph = magicmind.parse(model)
    path = f"{tmp_path}/graph.onnx"
    graph.save(path)
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)}
    results = [magicmind.build(g).session(threads=1).run(feeds) for g in (graph, magicmind.parse(path))]
    check_outputs(results[0], results[1], 0)


def test_a_gemm_whose_bias_is_computed() -> None:
    n = Net()
    a, b, c = n.input("a", (2, 3)), n.input("b", (3, 4)), n.input("c", (4,))
    check_model(n.model(n.op("Gemm", a, b, c), n.op("Gemm", a, n.floats(3, 4), n.op("Neg", c), alpha=0.5)))


def test_passes_of_both_pipelines_can_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    n = Net()
    model = n.model(n.block(n.input("x", (1, 3, 6, 6)), 3, 8))
    monkeypatch.setenv("MAGICMIND_SKIP", "fuse_epilogue,fuse_separable")
    check_model(model)
    monkeypatch.setenv("MAGICMIND_SKIP", "fuse_epilog")
    with pytest.raises(magicmind.Error, match=r"(?s)no pass named 'fuse_epilog'.*fuse_epilogue.*fuse_separable"):
        magicmind.build(magicmind.parse(model))
