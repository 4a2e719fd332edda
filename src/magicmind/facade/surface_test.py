"""That everything is there: every class, method, argument and node that public programs use, row by row."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import magicmind.python.runtime as mm

CLASSES = {
    "Status": "OK ok error_message",
    "Dims": "GetDimValue GetDims GetElementCount GetDimsNum",
    "Parser": "set_model_param parse",
    "Network": "get_input_count get_output_count get_input get_output add_input mark_output unmark_output "
    "get_all_nodes_in_network find_node_by_name find_nodes_by_node_type remove_input remove_node",
    "ITensor": "set_dimension get_dimension set_data_type get_data_type get_tensor_name get_consumers get_producer "
    "set_tensor_name set_dynamic_range set_dynamic_range_per_axis",
    "INode": "get_node_name get_node_type get_input_count get_input get_output_count get_output set_precision "
    "set_output_type update_input set_node_name get_precursors get_successors set_precision_with_normal_param "
    "set_precision_with_normal_param_per_axis",
    "BuilderConfig": "parse_from_string parse_from_file mlu_archs set_mlu_arch",
    "Builder": "build_model",
    "Calibrator": "set_quantization_algorithm set_remote calibrate",
    "CalibDataInterface": "next get_shape get_data_type get_sample reset",
    "Model": "serialize_to_file deserialize_from_file get_input_num get_output_num get_input_names get_output_names "
    "get_input_dimensions get_output_dimensions get_input_data_types get_output_data_types get_input_data_type "
    "create_i_engine EngineConfig serialize_to_memory deserialize_from_memory get_input_dimension get_output_dimension",
    "EngineConfig": "set_device_type set_const_data_init",
    "Engine": "create_i_context query_const_data_size query_context_max_workspace_size",
    "Context": "create_inputs create_outputs enqueue create_input_tensors create_output_tensors infer_output_shape "
    "set_workspace set_context_dump_info ContextDumpInfo",
    "Device": "active create_queue",
    "Queue": "sync",
    "System": "device_count initialize destory __enter__ __exit__",
    "Tensor": "from_numpy to asnumpy shape reshape resize memcpy_from_host data_address set_data_address "
    "set_dimensions get_dimensions get_size get_data_type get_layout get_name get_memory_location set_data "
    "get_mutable_data set_capacity",
    "IProfiler": "start stop step_begin step_end",
    "remote": "IRpcServer IRpcSession RemoteConfig create_rpc_server",
}


FUNCTIONS = (
    "get_datatype_by_numpy get_numpy_dtype_by_datatype data_type_size find_irt_tensor_by_name layout_enum_to_string "
    "type_enum_to_string type_string_to_enum range_to_uniform_quant_param uniform_quant_param_to_range "
    "normal_to_uniform_cast uniform_to_normal_cast"
)


@pytest.mark.parametrize("name", FUNCTIONS.split())
def test_functions(name: str) -> None:
    assert callable(getattr(mm, name))


@pytest.mark.parametrize(("name", "member"), [(n, m) for n, members in CLASSES.items() for m in members.split()])
def test_members(name: str, member: str) -> None:
    assert hasattr(getattr(mm, name), member)


@pytest.mark.parametrize(
    ("made", "field", "value"),
    [
        (mm.RemoteConfig(), "address", "host:8008"),
        (mm.Model.EngineConfig(), "device_type", "MLU"),
        (mm.Device(), "id", 0),
    ],
)  # fmt: skip
def test_fields_that_programs_set(made: Any, field: str, value: Any) -> None:
    assert hasattr(made, field)
    setattr(made, field, value)
    assert getattr(made, field) == value


KEYWORDS = {
    "Tensor.__init__": "shape dtype location",
    "Context.enqueue": "input_by_tensor_order",
    "Context.create_outputs": "suppress_infer_shape_error",
    "Model.create_i_engine": "config",
    "Builder.build_model": "name network config",
    "Calibrator.calibrate": "network config",
}


@pytest.mark.parametrize("method", KEYWORDS)
def test_names_of_arguments(method: str) -> None:
    name, member = method.split(".")
    assert set(KEYWORDS[method].split()) <= set(inspect.signature(getattr(getattr(mm, name), member)).parameters)


NODES = (
    "const permute detection_output range unsqueeze logic cast fill reduce slice conv activation split "
    "concat conv1d conv3d conv_depthwise deconv deconv1d deform_conv2d mat_mul inner_product elementwise "
    "div maximum minimum pow floor_div floor_mod squared_difference abs cos sin erf exp floor is_finite "
    "log rsqrt sqrt sign square softplus softsign elu selu clone tril lrn softmax log_softmax std arg_max "
    "arg_min top_k pack strided_slice transpose reshape tile pad crop batch_to_space space_to_batch "
    "resize interp max_pool2d max_pool3d avg_pool2d avg_pool3d unpool2d fused_batch_norm layer_norm "
    "group_norm scale normalize prelu threshold clip select where masked_fill masked_select scatter "
    "gather_elw embedding non_max_suppression rnn gru random_uniform as_strided list_diff dynamic_stitch "
    "invert_permutation matrix_band_part reverse reorg shuffle_channel cosine_similarity if while plugin "
    "proposal roi_pool roi_align psroi_pool"
)


@pytest.mark.parametrize("name", NODES.split())
def test_a_node_is_refused_and_never_raises(name: str) -> None:
    network = mm.Network()
    add = getattr(network, f"add_i_{name}_node")
    assert add.__name__ == f"add_i_{name}_node"
    for operands in ((None,), ("a tensor", 3), (network,), ([None],)):
        found = add(*operands)
        assert found is None or isinstance(found, mm.INode)
    builder = mm.Builder()
    assert builder.build_model("n", network) is None and not builder.status.ok()
