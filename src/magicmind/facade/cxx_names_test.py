"""What the C++ interface has beside the Python one, under its Python spelling."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import build, config, run, run_model

FIXED = '{"graph_shape_mutable": false}'
X = np.arange(6, dtype=np.float32).reshape(2, 3)
BATCHES = '{"dim_range": {"0": {"min": [1, 3], "max": [8, 3]}}}'


def squares() -> mm.Network:
    network = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims([2, 3]))
    assert network.mark_output(network.add_i_square_node(x)).ok()
    return network


@pytest.fixture(scope="module")
def model() -> mm.Model:
    return build(squares(), BATCHES)


# ------------------------------------------------------------------------------------------------------------- networks


def test_nodes_and_their_neighbours() -> None:
    network: Any = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims([2, 3]))
    first = network.add_i_abs_node(x)
    second = network.add_i_elementwise_node(first, first, mm.IElementwise.ADD)
    assert first.get_precursors() == [] and first.get_successors() == [second]
    assert second.get_precursors() == [first] and second.get_successors() == []
    assert network.find_nodes_by_node_type("IAbsNode") == [first]
    assert network.find_nodes_by_node_type("IConvNode") == []


def test_what_is_read_is_not_removed() -> None:
    network: Any = mm.Network()
    x, unused, y = (network.add_input(mm.DataType.FLOAT32, mm.Dims([2, 3])) for _ in range(3))
    first = network.add_i_abs_node(x)
    last = network.add_i_elementwise_node(first, y, mm.IElementwise.SUB)
    assert network.mark_output(last).ok()
    for status in (network.remove_input(x), network.remove_node(first), network.remove_node(last)):
        assert not status.ok() and "is read by" in str(status)
    assert network.remove_input(unused).ok() and network.get_input_count() == 2
    assert network.get_input(1) is y and not network.remove_input(unused).ok()
    assert not network.mark_output(unused).ok() or not network.remove_input(unused).ok()


def test_the_rest_of_a_network_works_when_parts_are_removed() -> None:
    network: Any = mm.Network()
    unused, x, y = (network.add_input(mm.DataType.FLOAT32, mm.Dims([2, 3])) for _ in range(3))
    dead = network.add_i_exp_node(y)
    node = network.add_i_elementwise_node(x, y, mm.IElementwise.SUB)
    assert network.mark_output(node).ok()
    assert not network.remove_input(y).ok()
    assert network.remove_node(dead).ok() and not network.remove_node(dead).ok()
    assert network.remove_input(unused).ok()
    assert dead not in network.get_all_nodes_in_network()
    np.testing.assert_array_equal(run(network, X, 2 * X, config=FIXED)[0], -X)


def test_parts_of_a_file_are_removed(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[2, 3] a, float[2, 3] unused, float[2, 3] b) => (float[2, 3] y, float[2, 3] z)
        { y = Add(a, b) z = Exp(b) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    network: Any = mm.Network()
    assert mm.Parser(mm.ModelKind.kOnnx).parse(network, str(tmp_path / "net.onnx")).ok()
    exp = network.find_nodes_by_node_type("IExpNode")[0]
    assert not network.remove_node(exp).ok()
    assert network.unmark_output(network.get_output(1)).ok() and network.remove_node(exp).ok()
    assert network.find_nodes_by_node_type("IExpNode") == []
    assert network.remove_input(network.get_input(1)).ok()
    model = build(network, FIXED)
    assert model.get_input_names() == ["a", "b"]
    np.testing.assert_array_equal(run_model(model, X, X)[0], 2 * X)


def test_targets_by_a_method() -> None:
    made = mm.BuilderConfig()
    assert made.set_mlu_arch(["native"]).ok() and made.mlu_archs == ["native"]
    assert not made.set_mlu_arch([3]).ok()  # type: ignore[list-item]


# --------------------------------------------------------------------------------------------------------------- models


def test_a_model_in_memory(model: mm.Model) -> None:
    data = model.serialize_to_memory()
    assert data is not None
    other = mm.Model()
    assert other.serialize_to_memory() is None
    assert other.deserialize_from_memory(data + b"tail", len(data)).ok()
    np.testing.assert_array_equal(run_model(other, X)[0], X * X)
    assert not other.deserialize_from_memory(data[:100]).ok() and not other.deserialize_from_memory("x").ok()  # type: ignore[arg-type]


def test_sizes_of_engines(model: mm.Model) -> None:
    settings = mm.Model.EngineConfig()
    assert settings.set_device_type("MLU").ok() and settings.set_const_data_init(False).ok()
    assert not settings.set_device_type(3).ok() and settings.const_data_init is False  # type: ignore[arg-type]
    engine: Any = model.create_i_engine(settings)
    assert engine.query_const_data_size() >= 0
    small, large = (engine.query_context_max_workspace_size([mm.Dims([n, 3])]) for n in (1, 8))
    assert 0 <= small <= large
    assert engine.query_context_max_workspace_size([mm.Dims([9, 3])]) is None
    assert engine.query_context_max_workspace_size([]) is None


def test_shapes_of_outputs_before_a_run(model: mm.Model) -> None:
    engine: Any = model.create_i_engine()
    context = engine.create_i_context()
    inputs, outputs = context.create_input_tensors(), context.create_output_tensors()
    assert isinstance(outputs, list) and not context.infer_output_shape(inputs, outputs).ok()
    assert inputs[0].set_dimensions(mm.Dims([5, 3])).ok() and inputs[0].get_size() == 60
    assert context.infer_output_shape(inputs, outputs).ok() and outputs[0].shape == (5, 3)
    assert not inputs[0].set_dimensions(mm.Dims([5, 4])).ok() and not inputs[0].set_dimensions(mm.Dims([-1, 3])).ok()
    filled: list[Any] = []
    assert context.infer_output_shape(inputs, filled).ok() and filled[0].get_dimensions().GetDims() == [5, 3]
    assert context.set_workspace(0, 1 << 20).ok() and not context.set_workspace(-1, 0).ok()


def test_the_loop_of_cpp_clients(model: mm.Model) -> None:
    """SetDimensions, SetData, InferOutputShape, SetData, Enqueue: in memory of the client's own; the last batch is
    smaller."""
    engine: Any = model.create_i_engine()
    context, queue = engine.create_i_context(), mm.Queue()
    source, place = np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32)
    inputs, outputs = context.create_input_tensors(), context.create_output_tensors()
    for batch in (4, 2):
        source[:batch] = np.arange(3 * batch).reshape(batch, 3)
        assert inputs[0].set_dimensions(mm.Dims([batch, 3])).ok()
        assert inputs[0].set_data(source.ctypes.data).ok()
        assert context.infer_output_shape(inputs, outputs).ok()
        assert outputs[0].set_data(place.ctypes.data).ok() and outputs[0].set_capacity(place.nbytes).ok()
        assert context.enqueue(inputs, outputs, queue).ok() and queue.sync().ok()
        np.testing.assert_array_equal(place[:batch], source[:batch] ** 2)


def test_tensors_by_their_other_names(model: mm.Model) -> None:
    engine: Any = model.create_i_engine()
    tensor = engine.create_i_context().create_inputs()[0]
    assert tensor.get_name() == "main/arg-0" and tensor.get_dimensions().GetDims() == [-1, 3]
    assert tensor.get_size() == 0 and tensor.get_mutable_data() == 0 and tensor.get_layout() is mm.Layout.ARRAY
    assert not tensor.set_capacity(100).ok() and not tensor.set_data(1).ok()
    assert mm.Tensor([2], location=mm.TensorLocation.kMLU).get_memory_location() is mm.TensorLocation.kMLU
    assert mm.find_irt_tensor_by_name([tensor], "main/arg-0") is tensor
    assert mm.find_irt_tensor_by_name([tensor], "x") is None


def test_names_and_sizes_of_types() -> None:
    assert mm.data_type_size(mm.DataType.FLOAT16) == 2 and mm.data_type_size(mm.DataType.TENSORLIST) is None
    for name in ("HALF", "FLOAT", "INT8", "BOOL"):
        found = mm.type_string_to_enum(name)
        assert found is not None and mm.type_enum_to_string(found) == name
    assert mm.type_string_to_enum("FLOAT16") is mm.DataType.FLOAT16
    assert mm.layout_enum_to_string(mm.Layout.NHWC) == "NHWC" and mm.layout_enum_to_string(mm.Layout.NONE) == "ARRAY"


# --------------------------------------------------------------------------------------------------------------- remote


def test_a_session_with_a_server(model: mm.Model) -> None:
    pytest.importorskip("grpc", reason="needs the extra [remote]")
    server = mm.remote.create_rpc_server(0)
    assert server is not None
    loop = threading.Thread(target=server.handle_rpcs_loop)
    loop.start()
    session = mm.remote.IRpcSession.rpc_connect(f"127.0.0.1:{server.port}")
    assert session is not None and session.connected()
    assert session.get_device_by_id(0) is not None and session.get_device_by_id(3) is None
    settings = mm.Model.EngineConfig()
    settings.rpc_session = session
    engine: Any = model.create_i_engine(settings)
    context = engine.create_i_context()
    inputs: list[Any] = context.create_inputs()
    outputs: list[Any] = []
    assert inputs[0].from_numpy(X).ok() and context.enqueue(inputs, outputs, mm.Device().create_queue()).ok()
    np.testing.assert_array_equal(outputs[0].asnumpy(), X * X)
    assert engine.query_const_data_size() is None
    info = mm.Context.ContextDumpInfo(dump_mode=mm.DumpMode.kAllTensors)
    assert context.set_context_dump_info(info).ok()
    assert "server" in str(context.enqueue(inputs, outputs, mm.Device().create_queue()))
    assert session.destroy().ok() and not session.connected() and model.create_i_engine(settings) is None
    assert server.shutdown().ok()
    loop.join(20)
    assert not loop.is_alive()
    assert mm.remote.IRpcSession.rpc_connect(f"127.0.0.1:{server.port}") is None


def test_a_calibrator_takes_the_address_of_a_server() -> None:
    remote = mm.remote.RemoteConfig()
    remote.address = "127.0.0.1:1"
    assert mm.RemoteConfig is mm.remote.RemoteConfig and mm.Calibrator([]).set_remote(remote).ok()
    assert config("{}").document == {}
