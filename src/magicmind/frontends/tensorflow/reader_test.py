"""Files, inputs and outputs, pruning, and what bad input says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import magicmind
from magicmind.errors import MissingExtraError, ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.frontends.tensorflow import schema
from magicmind.frontends.tensorflow.tensors import array_of
from magicmind.testing.tensorflow import GraphBuilder, f32

FLOAT = np.dtype(np.float32)


def small() -> GraphBuilder:
    """x -> dense -> relu -> Identity `prob`, with an Assert beside."""
    b = GraphBuilder()
    b.placeholder("x", [-1, 3])
    b.node("MatMul", "dense/MatMul", "x", np.eye(3, 2, dtype=np.float32))
    b.node("Relu", "dense/Relu", "dense/MatMul")
    b.node("Less", "ok", "x", np.float32(9))
    b.node("All", "all_ok", "ok", np.array([0, 1], np.int32))
    b.node("Assert", "assert", "all_ok", "x")
    b.node("Identity", "prob", "dense/Relu", "^assert")
    return b


def names(graph: magicmind.Graph) -> list[str | None]:
    return [node.name for node in graph.model.graph]


def test_binary_and_text_are_one_graph(tmp_path: Path) -> None:
    b = small()
    text = tmp_path / "net.pbtxt"
    text.write_text(text_format.MessageToString(b.message) + '\nlibrary { gradient { function_name: "f" } }\n')
    for path in (b.save(tmp_path / "net.pb"), text):
        graph = magicmind.parse(path, input_shapes={"x": ("1..4", 3)})
        assert (graph.inputs[0].shape, graph.outputs[0].name, graph.outputs[0].shape) == (
            ((1, 4), 3),
            "prob",
            ((1, 4), 2),
        )


def test_checks_and_copies_leave_nothing() -> None:
    assert names(small().graph()) == ["dense/MatMul", "dense/Relu", "prob/output"]


def test_outputs_are_named_with_or_without_a_number() -> None:
    assert [o.name for o in small().graph(["dense/Relu:0", "prob"]).outputs] == ["dense/Relu", "prob"]


def test_inputs_may_cut_the_graph() -> None:
    graph = small().graph(["prob"], inputs=["dense/MatMul:0"], input_shapes={"dense/MatMul": (4, 2)})
    assert names(graph) == ["dense/Relu", "prob/output"]


def test_a_graph_without_shapes_waits_for_them() -> None:
    b = GraphBuilder()
    b.placeholder("x", None)
    b.node("Relu", "y", "x")
    graph = b.graph()
    with pytest.raises(ShapeError, match="the shape of input 'x' is not known"):
        _ = graph.model
    assert graph.with_shapes({"x": (2, 3)}).outputs[0].shape == (2, 3)


def test_open_sizes_that_do_not_fit_wait_for_others() -> None:
    b = GraphBuilder()
    b.placeholder("x", [-1, -1])
    b.node("Add", "y", "x", np.zeros((1, 3), np.float32))
    b.node("MatMul", "z", "y", np.zeros((3, 2), np.float32))
    b.node("Concat", "both", np.int32(0), "z", "x")
    graph = b.graph(["both"])
    assert graph.inputs[0].dtype == np.float32
    with pytest.raises(ShapeError, match="'x'"):
        _ = graph.outputs


def test_names_that_do_not_exist_suggest_others() -> None:
    with pytest.raises(ModelFormatError, match=r"(?s)no node 'dense/relu' for an output.*did you mean 'dense/Relu'"):
        small().graph(["dense/relu"])
    with pytest.raises(ModelFormatError, match=r"no node 'xx' for an input"):
        small().graph(["prob"], inputs=["xx"])
    with pytest.raises(ModelFormatError, match="node 'prob' has no output 3"):
        small().graph(["prob:3"])


def test_inputs_that_are_missing_are_listed() -> None:
    b = small()
    b.placeholder("more", [2])
    b.node("Add", "sum", "prob", "more")
    with pytest.raises(ModelFormatError, match="the outputs also depend on 'more'"):
        b.graph(["sum"], inputs=["x"])


def test_all_unknown_operators_in_one_error() -> None:
    b = small()
    b.node("Quux", "odd/a", "x")
    b.function("f", ["v"], {"r": "q:y:0"}).node("Corge", "q", "v")
    b.node("PartitionedCall", "call", "odd/a", f=b"f")
    with pytest.raises(UnsupportedOperatorError) as caught:
        b.graph(["call"])
    assert "2 nodes are not supported" in str(caught.value)
    assert "odd/a (TensorFlow Quux)" in str(caught.value) and "call/q (TensorFlow Corge)" in str(caught.value)


def test_cycles() -> None:
    b = GraphBuilder()
    b.node("Relu", "a", "b")
    b.node("Relu", "b", "a")
    with pytest.raises(ModelFormatError, match="depends on its own result: the graph has a cycle"):
        b.graph(["b"])


def test_nodes_that_read_nothing_that_exists() -> None:
    b = GraphBuilder()
    b.node("Relu", "a", "gone")
    with pytest.raises(ModelFormatError, match=r"node 'a' \(Relu\) reads 'gone', which the graph does not have"):
        b.graph(["a"])


def test_two_nodes_of_one_name() -> None:
    b = GraphBuilder()
    b.placeholder("x", [1])
    b.node("Relu", "x", "x")
    with pytest.raises(ModelFormatError, match="two nodes are called 'x'"):
        b.graph(["x"])


def test_types_that_do_not_fit() -> None:
    b = GraphBuilder()
    b.placeholder("x", [2], np.int32)
    b.node("Add", "sum", "x", f32([1, 2]))
    with pytest.raises(ShapeError, match=r"sum \(TensorFlow Add\)"):
        b.graph(["sum"])


def test_every_output_is_read() -> None:
    b = GraphBuilder()
    b.placeholder("x", [2])
    with pytest.raises(ModelFormatError, match="the graph has no output"):
        b.graph()


@pytest.mark.parametrize("suffix", [".pb", ".pbtxt"])
def test_damaged_files(tmp_path: Path, suffix: str) -> None:
    """Truncated at any length, or random: an error of ours, or a graph where what is left happens to be one."""
    message = small().message
    whole = message.SerializeToString() if suffix == ".pb" else text_format.MessageToString(message).encode()
    random = np.random.default_rng(0)
    files = [whole[:n] for n in range(0, len(whole), max(len(whole) // 60, 1))]
    files += [random.integers(0, 256, n, np.uint8).tobytes() for n in (1, 10, 100, 1000)]
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        files.append(bytes(damaged))
    path = tmp_path / f"net{suffix}"
    refused = 0
    for data in files:
        path.write_bytes(data)
        try:
            magicmind.parse(path)
        except magicmind.Error:
            refused += 1
    assert refused > len(files) // 2


def test_files_that_are_no_graph(tmp_path: Path) -> None:
    (tmp_path / "empty.pb").write_bytes(b"")
    with pytest.raises(ModelFormatError, match="holds no nodes"):
        magicmind.parse(tmp_path / "empty.pb")
    with pytest.raises(ModelFormatError, match="cannot be read"):
        magicmind.parse(tmp_path / "gone.pb")


def test_keras_files_need_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "magicmind.frontends.tensorflow.freeze", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'magicmind\[tensorflow\]'"):
        magicmind.parse(tmp_path / "model.keras")


def tensor(text: str) -> Any:
    return (
        text_format.Parse(f"attr {{ key: 'v' value {{ tensor {{ {text} }} }} }}", schema.NodeDef()).attr[0].value.tensor
    )


def test_contents_of_constants() -> None:
    """A list that is too short repeats its last number; none at all are zeros; halves are bits."""
    shape = "tensor_shape { dim { size: 3 } }"
    assert array_of(tensor(f"dtype: DT_INT32 {shape} int_val: 1 int_val: 2")).tolist() == [1, 2, 2]
    assert array_of(tensor(f"dtype: DT_FLOAT {shape}")).tolist() == [0, 0, 0]
    assert array_of(tensor(f"dtype: DT_HALF {shape} half_val: 15360")).tolist() == [1, 1, 1]
    assert array_of(tensor("dtype: DT_STRING string_val: 'a'")).item() == b"a"
    with pytest.raises(ModelFormatError, match="needs 12 bytes; 4 are there"):
        array_of(tensor(f"dtype: DT_FLOAT {shape} tensor_content: '\\000\\000\\000\\000'"))
    with pytest.raises(ModelFormatError, match="lists 4 numbers"):
        array_of(tensor(f"dtype: DT_INT32 {shape} int_val: [1, 2, 3, 4]"))
    with pytest.raises(UnsupportedOperatorError, match="DT_RESOURCE"):
        array_of(tensor(f"dtype: DT_RESOURCE {shape}"))
