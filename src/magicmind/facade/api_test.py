"""The surface that programs touch: import paths, statuses, dims, enumerations, helpers, devices; row by row."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import magicmind.python.cc._pywrap_runtime as pywrap
import magicmind.python.cc._pywrap_runtime.enums as pywrap_enums
import magicmind.python.runtime as mm
import magicmind.python.runtime.model
import magicmind.python.runtime.parser
from magicmind.python.common.types import get_datatype_by_numpy, get_numpy_dtype_by_datatype

HEAVY = {"onnx", "onnx_ir", "llvmlite", "torch", "tensorflow", "google.protobuf", "rich"}


def test_importing_is_cheap() -> None:
    code = f"import sys, magicmind.python.runtime; print(sorted({HEAVY!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


NAMES = [
    "BuilderConfig",
    "Builder",
    "CalibDataInterface",
    "Calibrator",
    "Code",
    "DataType",
    "Device",
    "Dims",
    "IActivation",
    "IDetectionOutputAlgo",
    "INmsType",
    "IPaddingMode",
    "IReduce",
    "Layout",
    "Model",
    "ModelKind",
    "Network",
    "QuantizationAlgorithm",
    "RemoteConfig",
    "Status",
    "System",
    "Tensor",
    "TensorLocation",
    "enums",
    "parser",
    "model",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_runtime(name: str) -> None:
    assert hasattr(mm, name)


def test_one_class_by_every_path() -> None:
    assert magicmind.python.runtime.model.Model is mm.Model
    assert magicmind.python.runtime.parser.Parser is mm.parser.Parser
    assert pywrap_enums.DataType is mm.DataType is mm.enums.DataType is pywrap.enums.DataType
    assert isinstance(pywrap.ITensor, type)
    assert mm.enums.ILogic.LT.name == "LT"


MEMBERS = {
    "DataType": "FLOAT16 FLOAT32 FLOAT64 INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 BOOL QINT8 QINT16 TENSORLIST",
    "ModelKind": "kCaffe kOnnx kPytorch kTensorflow",
    "Layout": "NONE ARRAY NCHW NHWC NCT NTC NCDHW NDHWC HWCN TNC TN",
    "QuantizationAlgorithm": "LINEAR_ALGORITHM EQNM_ALGORITHM INVALID",
    "TensorLocation": "kHost kMLU kRemoteHost kRemoteMLU",
    "IDetectionOutputAlgo": "YOLOV2 YOLOV3 YOLOV4 YOLOV5 FASTERRCNN SSD REFINEDET",
    "INmsType": "DIOU_NMS",
    "IReduce": "ADD MEAN MAX MUL AND OR NORM1 NORM2 SUMSQ",
    "ILogic": "LT LE GT GE EQ NE AND OR XOR NOT",
    "IActivation": "RELU SIGMOID TANH",
    "IElementwise": "ADD SUB MUL",
    "IPaddingMode": "EXPLICIT SAME",
    "IUnpoolMode": "MAX",
    "ILog": "LOG_E",
    "IScatter": "SCATTER",
    "IRNNBiasMode": "NO_BIAS",
    "IRNNOutputMode": "HAS_OUT_LAYER",
    "IOutputMode": "OUTPUT_TARGET_INDICES",
    "RoundingMode": "ROUND_HALF_TO_EVEN",
    "Code": "OK OUT_OF_RANGE INTERNAL UNAVAILABLE",
}


@pytest.mark.parametrize("name", MEMBERS)
def test_enumerations(name: str) -> None:
    enumeration = getattr(mm, name)
    members = {enumeration[member] for member in MEMBERS[name].split()}  # hashable
    assert all(member == enumeration[member.name] for member in members)
    assert (enumeration is mm.Code) or getattr(mm.enums, name) is enumeration


def test_two_names_for_one_layout() -> None:
    assert mm.Layout["NONE"] is mm.Layout["ARRAY"]


# ------------------------------------------------------------------------------------------------------------- Status


@pytest.mark.parametrize("status", [mm.Status(), mm.Status.OK()])
def test_ok(status: mm.Status) -> None:
    assert status.ok() is True
    assert status.ok  # type: ignore[truthy-function]  # one program forgets to call it
    assert str(status) == "OK"


def test_an_error() -> None:
    status = mm.Status(mm.Code.OUT_OF_RANGE, "no more images")
    assert not status.ok()
    assert "no more images" in str(status)
    assert status.error_message == "no more images"
    assert status.error_message() == "no more images"  # type: ignore[operator]
    assert status != mm.Status.OK()


# --------------------------------------------------------------------------------------------------------------- Dims


@pytest.mark.parametrize(
    "shape", [(1, 3, 2), [1, 3, 2], np.zeros((1, 3, 2)).shape, np.array([1, 3, 2]), mm.Dims([1, 3, 2])]
)
def test_dims_of_anything_like_a_shape(shape: Any) -> None:
    dims = mm.Dims(shape)
    assert dims.GetDims() == [1, 3, 2] and all(type(d) is int for d in dims.GetDims())
    assert dims.GetDimValue(1) == 3
    assert dims.GetElementCount() == 6
    assert str(dims) == "[1, 3, 2]"


def test_dims_are_handed_out_as_a_list_to_change() -> None:
    dims = mm.Dims([1, 3])
    found = dims.GetDims()
    found[0] = 8
    assert mm.Dims(found).GetDims() == [8, 3] and dims.GetDims() == [1, 3]


def test_scalars_and_open_sizes() -> None:
    assert len(mm.Dims([]).GetDims()) == 0 and mm.Dims([]).GetElementCount() == 1
    assert mm.Dims([-1, 3]).GetElementCount() == -1


# ------------------------------------------------------------------------------------------------------------ helpers


@pytest.mark.parametrize(
    "name", ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "float16", "float32", "float64"]
)
def test_dtypes_there_and_back(name: str) -> None:
    dtype = np.dtype(name)
    found = get_datatype_by_numpy(dtype)
    assert found is mm.DataType[name.upper()]
    assert get_datatype_by_numpy(dtype.type) is found
    assert get_numpy_dtype_by_datatype(found) == dtype


def test_quantised_types_are_integers_in_numpy() -> None:
    assert get_numpy_dtype_by_datatype(mm.DataType.QINT8) == np.int8
    assert get_datatype_by_numpy(np.dtype("int8")) is mm.DataType.INT8


@pytest.mark.parametrize("dtype", [np.dtype("complex64"), "no dtype", np.dtype("M8[s]"), {}])
def test_a_dtype_without_name(dtype: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert get_datatype_by_numpy(dtype) is None and caplog.text


@pytest.mark.parametrize("data_type", [mm.DataType.TENSORLIST, None, "FLOAT32"])
def test_a_type_without_dtype(data_type: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert get_numpy_dtype_by_datatype(data_type) is None and caplog.text


# --------------------------------------------------------------------------------------------------- Device and System


def test_a_system_counts_devices_and_ends_nothing() -> None:
    with mm.System() as system:
        assert system.device_count() >= 1
        assert system.initialize().ok()
        device = mm.Device()
        queue = device.create_queue()
    assert system.destory().ok()
    assert device.active().ok() and queue is not None and queue.sync().ok()


def test_a_device_takes_any_attribute() -> None:
    device = mm.Device()
    device.dev_id = 3  # type: ignore[attr-defined]  # one program sets this instead of id
    assert device.id == 0 and device.active().ok()


@pytest.mark.parametrize("number", [7, -1, "0"])
def test_a_device_that_is_not_there(number: Any) -> None:
    device = mm.Device()
    device.id = number
    assert not device.active().ok()


# ------------------------------------------------------------------------------------------------------ configuration


def test_configurations_merge_deeply() -> None:
    config = mm.BuilderConfig()
    for text in (
        '{"precision_config": {"precision_mode": "qint8_mixed_float16"}}',
        '{"precision_config": {"weight_quant_granularity": "per_axis"}}',
        '{"opt_config": {"type64to32_conversion": true}}',
        '{"opt_config": {"conv_scale_fold":        true}}',
        '{"archs": ["mtp_372"]}',
        '{"archs": [{"mtp_372": [2, 6, 8]}]}',
        '{"precision_config": {"precision_mode": "force_float16"}}',
    ):
        assert config.parse_from_string(text).ok()
    assert config.document == {
        "precision_config": {"precision_mode": "force_float16", "weight_quant_granularity": "per_axis"},
        "opt_config": {"type64to32_conversion": True, "conv_scale_fold": True},
        "archs": [{"mtp_372": [2, 6, 8]}],
    }
    assert config.mlu_archs == ["mtp_372"]


def test_a_file_overrides(tmp_path: Any) -> None:
    config = mm.BuilderConfig()
    assert config.parse_from_string('{"graph_shape_mutable": true, "computation_preference": "fast"}').ok()
    (tmp_path / "more.json").write_text('{"graph_shape_mutable": false}')
    assert config.parse_from_file(str(tmp_path / "more.json")).ok()
    assert config.document == {"graph_shape_mutable": False, "computation_preference": "fast"}
    assert not config.parse_from_file(str(tmp_path / "none.json")).ok()


def test_archs_by_property() -> None:
    config = mm.BuilderConfig()
    config.mlu_archs = ["mtp_372"]
    assert config.document == {"archs": ["mtp_372"]}


ACCEPTED: tuple[dict[str, Any], ...] = (
    {"archs": []},
    {"archs": ["mtp_372.41", "tp_322", "x86-64-v3"]},
    {"graph_shape_mutable": True},
    {"dim_range": {"0": {"min": [1, 3, 224, 224], "max": [64, 3, 224, 224]}}},
    *({"precision_config": {"precision_mode": m}} for m in (
        "force_float32", "force_float16", "forced_float32", "qint8_mixed_float16", "qint8_mixed_float32",
        "qint16_mixed_float16", "qint16_mixed_float32",
    )),
    {"precision_config": {"activation_quant_algo": "asymmetric"}},
    {"opt_config": {"clustering_launch_enable": True, "tfu_enable": False}},
    {"convert_input_layout": {"0": {"src": "NCDHW", "dst": "NDHWC"}, "1": {"src": "NCT", "dst": "NTC"}}},
    {"convert_output_layout": {"0": {"src": "NCHW", "dst": "NHWC"}}},
    {"insert_bn_before_firstnode": {"0": {"mean": [103.939002991, 116, 0], "var": [3460.2076, 1.0, 1]}}},
    {"computation_preference": "high_precision"},
    {"compute_determinism": True},
    {"cross_compile_toolchain_path": "/nowhere/gcc-linaro/"},
    {"debug_config": {"fusion_enable": False, "print_ir": {"print_level": 1}}},
    {"custom_ranges": {"": {"max": [1], "min": [-1]}}},
    {"custom_nodes": {"IConvDepthwiseNode": {"input": {"0": {"quant_granularity": "per_axis"}}}}},
    {"enable_refit": True},
    {"crop_config": {"mtp_372": {"plugin": {"lib_path": "libplugin.a"}}}},
    {"a_key_of_another_version": [1, 2]},
    {"opt_config": {"another": 1}},
)  # fmt: skip


@pytest.mark.parametrize("document", ACCEPTED, ids=json.dumps)
def test_keys_that_are_accepted_and_kept(document: dict[str, Any]) -> None:
    config = mm.BuilderConfig()
    status = config.parse_from_string(json.dumps(document))
    assert status.ok(), status
    assert config.document == document


REFUSED = (
    ("", "no JSON"),
    ("{", "no JSON"),
    ('{"archs": [{"mtp_372": [6]} {"tp_322": [1]}]}', "no JSON"),
    ("[1]", "JSON object"),
    ('{"archs": "mtp_372"}', "archs is"),
    ('{"graph_shape_mutable": "false"}', "true or false"),
    ('{"dim_range": {"0": {"min": [1, 3], "max": [1]}}}', "dim_range"),
    ('{"dim_range": {"zero": {"min": [1], "max": [1]}}}', "dim_range"),
    ('{"precision_config": {"precision_mode": "int7"}}', "qint8_mixed_float16"),
    ('{"precision_config": 8}', "object"),
    ('{"convert_input_layout": {"0": {"src": "NCHW", "dst": "NXYZ"}}}', "convert_input_layout"),
    ('{"insert_bn_before_firstnode": {"0": {"mean": [1, 2], "var": [1]}}}', "insert_bn_before_firstnode"),
    ('{"computation_preference": "fastest"}', "fast"),
)


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_refused_leaves_the_configuration_alone(text: str, message: str) -> None:
    config = mm.BuilderConfig()
    assert config.parse_from_string('{"graph_shape_mutable": true}').ok()
    status = config.parse_from_string(text)
    assert not status.ok() and message in str(status)
    assert config.document == {"graph_shape_mutable": True}


@pytest.mark.parametrize("text", [None, 3, {"archs": []}])
def test_a_configuration_is_a_text(text: Any) -> None:
    assert not mm.BuilderConfig().parse_from_string(text).ok()
