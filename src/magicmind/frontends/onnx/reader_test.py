"""Reading ONNX files: names, shapes of inputs, and everything that is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import magicmind
from magicmind.errors import ModelFormatError, ShapeError
from magicmind.frontends.onnx import read_onnx
from magicmind.ir.types import ranges_of, type_of


def model_of(
    nodes: Sequence[onnx.NodeProto],
    shapes: dict[str, Any],
    outputs: Sequence[str] = ("y",),
    tensors: Sequence[onnx.TensorProto] = (),
    **fields: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        tensors,
    )
    return helper.make_model(graph, **{"opset_imports": [helper.make_opsetid("", 17)], "ir_version": 8, **fields})


def relu(x: str = "x", y: str = "y", name: str = "") -> onnx.NodeProto:
    return helper.make_node("Relu", [x], [y], name)


def input_types(model: onnx.ModelProto, **options: Any) -> dict[str, str]:
    return {v.name or "": str(type_of(v)) for v in read_onnx(model, **options).graph.inputs}


def test_source_names_are_kept_and_missing_ones_made_up() -> None:
    nodes = [relu("x", "a", "first"), relu("a", "b"), relu("b", "c", "first"), relu("c", "y", "Relu_1")]
    graph = read_onnx(model_of(nodes, {"x": [1]})).graph
    assert [n.name for n in graph] == ["first", "Relu_1_2", "first_2", "Relu_1"]
    assert [n.outputs[0].name for n in graph] == ["a", "b", "c", "y"]


def test_unsorted_nodes_are_sorted() -> None:
    graph = read_onnx(model_of([relu("a", "y", "second"), relu("x", "a", "first")], {"x": [1]})).graph
    assert [n.name for n in graph] == ["first", "second"]


def test_symbols_of_inputs() -> None:
    model = model_of([helper.make_node("Sum", ["x", "z"], ["y"])], {"x": ["batch size", None, 3], "z": [-1, -1, 3]})
    assert input_types(model) == {"x": "float32[batch_size, x_d1, 3]", "z": "float32[z_d0, z_d1, 3]"}


def test_input_shapes_override_and_share_symbols() -> None:
    model = model_of([helper.make_node("Sum", ["x", "z"], ["y"])], {"x": ["N", 8], "z": ["N", 8]})
    graph = magicmind.parse(model, input_shapes={"x": ("1..64", "h=2..")})
    assert [i.shape for i in graph.inputs] == [((1, 64), 8), ((1, 64), 8)]
    assert ranges_of(graph.model) == {"N": (1, 64)}
    fixed = magicmind.parse(model, input_shapes=[(4, 8)])
    assert [i.shape for i in (*fixed.inputs, *fixed.outputs)] == [(4, 8)] * 3


def test_initializers_that_are_listed_as_inputs_are_constants() -> None:
    weight = numpy_helper.from_array(np.ones(3, np.float32), "w")
    model = model_of(
        [helper.make_node("Add", ["x", "w"], ["y"])], {"x": [2, 3], "w": [3]}, tensors=[weight], ir_version=3
    )
    graph = magicmind.parse(model)
    assert [i.name for i in graph.inputs] == ["x"]


def test_local_functions_are_written_out() -> None:
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = model_of(
        [helper.make_node("Twice", ["x"], ["y"], domain="own")], {"x": [2]}, functions=[function], opset_imports=imports
    )
    graph = magicmind.parse(model)
    assert [n.op_type for n in graph.model.graph] == ["Add"]


def test_saving_and_reading_again(tmp_path: Path) -> None:
    graph = magicmind.parse(model_of([relu()], {"x": ["N", 3]}), input_shapes={"x": ("n=2..9", 3)})
    graph.save(tmp_path / "again.onnx")
    again = magicmind.parse(tmp_path / "again.onnx")
    assert again.inputs == graph.inputs == [magicmind.TensorInfo("x", np.dtype(np.float32), ((2, 9), 3))]
    assert list(tmp_path.iterdir()) == [tmp_path / "again.onnx"]
    onnx.checker.check_model(onnx.load(tmp_path / "again.onnx"))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    graph = magicmind.parse(model_of([relu()], {"x": [1]}))
    with pytest.raises(magicmind.Error, match="cannot be written"):
        graph.save(tmp_path / "missing" / "y.onnx")


def test_with_shapes_shares_the_weights() -> None:
    weight = numpy_helper.from_array(np.ones(3, np.float32), "w")
    graph = magicmind.parse(model_of([helper.make_node("Add", ["x", "w"], ["y"])], {"x": [1, 3]}, tensors=[weight]))
    other = graph.with_shapes({"x": ("1..8", 3)})
    assert (graph.inputs[0].shape, other.inputs[0].shape, other.outputs[0].shape) == ((1, 3), ((1, 8), 3), ((1, 8), 3))
    assert graph.model.graph.initializers["w"].const_value is other.model.graph.initializers["w"].const_value


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (
            model_of([relu("b", "a", "one"), relu("a", "b", "two"), relu("x", "y")], {"x": [1]}),
            "cycle through one, two",
        ),
        (model_of([relu("nowhere", "y", "lost")], {"x": [1]}), "lost (Relu) reads 'nowhere'"),
        (model_of([relu(name="p"), relu(name="q")], {"x": [1]}), "'y' is defined twice: by p (Relu) and by q (Relu)"),
        (model_of([relu("x", "x", "self")], {"x": [1]}, ["x"]), "'x' is defined twice"),
        (model_of([relu()], {"x": [1]}, ["z"]), "output 'z' is not computed"),
        (
            model_of([helper.make_node("Concat", ["x"], ["y"], "join")], {"x": [1]}),
            "join (Concat): attribute 'axis' is missing",
        ),
        (model_of([helper.make_node("Concat", ["x"], ["y"], "join", axis="1")], {"x": [1]}), "'axis' is STRING; INT"),
        (model_of([helper.make_node("Relu", ["x", "x"], ["y"], "r")], {"x": [1]}), "r (Relu) has 2 inputs"),
    ],
)
def test_malformed_graphs(model: onnx.ModelProto, text: str) -> None:
    with pytest.raises(ModelFormatError) as caught:
        magicmind.parse(model.SerializeToString())
    assert text in str(caught.value) and "bytes" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x08", b"not a model at all", bytes(1000)])
def test_files_that_are_no_models(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=rf"broken.onnx \({len(data)} bytes\)"):
        magicmind.parse(path)


def test_other_suffixes_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"known suffixes: .*\.onnx"):
        magicmind.parse(tmp_path / "model.xyz")
    with pytest.raises(ModelFormatError, match="cannot be read: No such file"):
        magicmind.parse(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ({"x": (1,)}, "input 'x' has shape [N, 3]; (1,) does not fit"),
        ({"x": ("1..a", 3)}, "input 'x', dimension 0: '1..a' is not a dimension"),
        ({"q": (1, 3)}, "there is no input 'q'"),
        ({"x": ("n=1..2", "n=3..4")}, "input 'x', dimension 1: the ranges given for dimension 'n'"),
    ],
)
def test_input_shapes_that_do_not_fit(shapes: dict[str, Any], text: str) -> None:
    with pytest.raises(ShapeError) as caught:
        magicmind.parse(model_of([relu()], {"x": ["N", 3]}), input_shapes=shapes)
    assert text in str(caught.value)


def test_an_input_without_rank_needs_a_shape() -> None:
    model = model_of([relu()], {"x": None})
    with pytest.raises(ShapeError, match="how many dimensions input 'x' has"):
        magicmind.parse(model)
    assert magicmind.parse(model, input_shapes=[(2, 3)]).outputs[0].shape == (2, 3)


def test_producers_whose_names_are_no_text_are_read(tmp_path: Path) -> None:
    proto = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [1]})
    proto.producer_name = "made by me"
    damaged = proto.SerializeToString().replace(b"made by me", b"made \xff\xfe me")
    with magicmind.build(magicmind.parse(damaged)) as model:
        model.save(tmp_path / "net.mm")


@pytest.mark.parametrize("indices", [[1, 5, 11], [[0, 1], [1, 1], [2, 3]]])
def test_sparse_initializers_are_written_out(indices: list[Any]) -> None:
    proto = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 3]})
    values = numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(indices, np.int64)), [3, 4])
    proto.graph.sparse_initializer.append(sparse)
    w = np.array([[0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 3]], np.float32)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with magicmind.build(magicmind.parse(proto)) as model:
        np.testing.assert_array_equal(model.session(threads=1).run({"x": x})["y"], x @ w)
    proto.graph.sparse_initializer[0].dims[0] = 2
    with pytest.raises(ModelFormatError, match="sparse tensor 'w': its indices do not fit"):
        magicmind.parse(proto)


def test_functions_have_defaults_for_attributes() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
        g (float[n] x, bool c) => (float[n] y, float[n] z) {
            a = my.Leak<alpha=0.5>(x)
            y = my.Outer(a)
            z = If(c) <then_branch = t () => (float[n] p) { p = my.Leak(x) },
                       else_branch = e () => (float[n] q) { q = my.Leak<alpha=2.0>(x) }>
        }
        <domain: "my", opset_import: ["" : 17, "my" : 1]> Outer (x) => (y) { y = my.Leak(x) }
        <domain: "my", opset_import: ["" : 17]> Leak <alpha: float = 0.25>(x) => (y) {
            y = LeakyRelu<alpha: float = @alpha>(x)
        }"""
    x = np.array([-8, 4], np.float32)
    with magicmind.build(magicmind.parse(onnx.parser.parse_model(text))) as model:
        for c, wanted in ((True, [-2, 4]), (False, [-16, 4])):
            got = model.session(threads=1).run({"x": x, "c": np.array(c)})
            np.testing.assert_array_equal(got["y"], np.array([-1, 4], np.float32))
            np.testing.assert_array_equal(got["z"], np.array(wanted, np.float32))
