"""Tensors of a run as files: outputs, those inside, in three formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import build, from_torch

X = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
QUEUE = mm.Device().create_queue()
FIXED = '{"graph_shape_mutable": false}'


@pytest.fixture(scope="module")
def model() -> mm.Model:
    """exp(x w) summed: a product and its function are inside, the sums are the output."""
    network: Any = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims([2, 6]))
    w = network.add_i_const_node(mm.DataType.FLOAT32, mm.Dims([6, 6]), np.eye(6, dtype=np.float32))
    product = network.add_i_mat_mul_node(x, w, None).get_output(0)
    assert product.set_tensor_name("product").ok()
    softmax = network.add_i_softmax_node(product, [1])
    summed = network.add_i_reduce_node(softmax, [0], mm.IReduce.ADD, False)
    assert network.mark_output(summed).ok()
    return build(network, FIXED)


def enqueue(model: mm.Model, **settings: Any) -> mm.Status:
    """One run with a dump."""
    engine = model.create_i_engine()
    context = None if engine is None else engine.create_i_context()
    assert context is not None
    info = mm.Context.ContextDumpInfo()
    for name, value in settings.items():
        setattr(info.val, name, value)
    assert context.set_context_dump_info(info).ok()
    inputs = context.create_inputs()
    assert inputs[0].from_numpy(X).ok()
    return context.enqueue(inputs, [], QUEUE)


SOFTMAX = np.exp(X) / np.exp(X).sum(1, keepdims=True)


def test_outputs(model: mm.Model, tmp_path: Path) -> None:
    assert enqueue(model, path=tmp_path / "dump", dump_mode=mm.DumpMode.kOutputTensors).ok()
    (file,) = (tmp_path / "dump").iterdir()
    assert file.name == "main_mm.reduce_0.0"
    np.testing.assert_allclose(np.fromfile(file, np.float32), SOFTMAX.sum(0), rtol=1e-5)


def test_all_tensors_by_the_names_that_the_program_knows(model: mm.Model, tmp_path: Path) -> None:
    assert enqueue(model, path=tmp_path, dump_mode=mm.DumpMode.kAllTensors).ok()
    found = {file.name: np.fromfile(file, np.float32) for file in tmp_path.iterdir()}
    assert found.keys() == {"product.0", "main_mm.softmax_0.0", "main_mm.reduce_0.0"}
    np.testing.assert_allclose(found["product.0"].reshape(2, 6), X, rtol=1e-6)
    np.testing.assert_allclose(found["main_mm.softmax_0.0"].reshape(2, 6), SOFTMAX, rtol=1e-5)


def test_some_tensors_as_protobuf(model: mm.Model, tmp_path: Path) -> None:
    settings = {"dump_mode": 0, "tensor_name": ["product"], "path": str(tmp_path)}
    assert enqueue(model, file_format=mm.FileFormat.kProtobuf, **settings).ok()
    proto = onnx.TensorProto.FromString((tmp_path / "product.0").read_bytes())
    assert proto.name == "product"
    np.testing.assert_allclose(onnx.numpy_helper.to_array(proto), X, rtol=1e-6)
    assert enqueue(model, file_format=mm.FileFormat.kProtobufText, **settings).ok()
    assert 'name: "product"' in (tmp_path / "product.0").read_text()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_tensor_that_is_not_there(model: mm.Model, tmp_path: Path) -> None:
    status = enqueue(model, dump_mode=0, tensor_name=["none"], path=tmp_path)
    assert not status.ok() and "no step makes 'none'" in str(status) and "product" in str(status)
    assert enqueue(model, dump_mode=-1, path=tmp_path).ok() and not list(tmp_path.iterdir())
    assert not enqueue(model, path="/dev/null/x").ok()


@pytest.mark.parametrize("wrong", [{"file_format": 7}, {"dump_mode": 9}])
def test_what_is_no_dump(wrong: dict[str, int], model: mm.Model) -> None:
    engine = model.create_i_engine()
    context = None if engine is None else engine.create_i_context()
    assert context is not None
    assert not context.set_context_dump_info(mm.Context.ContextDumpInfo(**wrong)).ok()  # type: ignore[arg-type]
    assert not context.set_context_dump_info("here").ok()


def test_tensors_of_a_pytorch_program_have_the_names_of_its_nodes(torch_file: str, tmp_path: Path) -> None:
    network: Any = from_torch(torch_file)
    assert network.get_input(0).set_dimension(mm.Dims([1, 3, 8, 8])).ok()
    known = {
        node.get_output(i).get_tensor_name()
        for node in network.get_all_nodes_in_network()
        for i in range(node.get_output_count())
    }
    engine: Any = build(network, FIXED).create_i_engine()
    context = engine.create_i_context()
    assert context.set_context_dump_info(mm.Context.ContextDumpInfo(tmp_path, dump_mode=mm.DumpMode.kAllTensors)).ok()
    inputs = context.create_inputs()
    assert inputs[0].from_numpy(np.ones((1, 3, 8, 8))).ok() and context.enqueue(inputs, [], QUEUE).ok()
    files = {file.name for file in tmp_path.iterdir()}
    assert "main_mm.relu_0.0" in files
    assert len(files & {name.replace("/", "_").replace(":", "_") + ".0" for name in known}) >= 4, (files, known)
