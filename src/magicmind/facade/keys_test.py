"""Every key of the configuration: what it changes in the built model, or that it changes nothing and is kept."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import onnx
import pytest

import magicmind.python.runtime as mm
from magicmind.facade.config import KEYS
from magicmind.testing.magicmind_api import FIXED, build, from_onnx, run_model

Array = np.ndarray[Any, np.dtype[Any]]
X = np.random.default_rng(0).uniform(-1, 1, (2, 16)).astype(np.float32)
WEIGHTS = [np.random.default_rng(i).uniform(-0.5, 0.5, (16, 16)).astype(np.float32) for i in range(3)]
WEIGHTS[0] *= np.geomspace(0.02, 2, 16, dtype=np.float32)  # one scale for all columns is a bad one
PIXELS = np.random.default_rng(2).integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
EVERY = '{"custom_ranges": {"": {"min": [-16], "max": [16]}}}'
QINT8 = '{"precision_config": {"precision_mode": "qint8_mixed_float32"}}'


def products() -> Any:
    """Three products, one after another."""
    network: Any = mm.Network()
    value = network.add_input(mm.DataType.FLOAT32, mm.Dims(X.shape))
    for array in WEIGHTS:
        weight = network.add_i_const_node(mm.DataType.FLOAT32, mm.Dims(array.shape), array)
        value = network.add_i_activation_node(network.add_i_mat_mul_node(value, weight, None), mm.IActivation.RELU)
    assert network.mark_output(value).ok()
    return network


def exact() -> Array:
    found = X.astype(np.float64)
    for weight in WEIGHTS:
        found = np.maximum(found @ weight, 0)
    return found


def error(*texts: str) -> float:
    """Of the network of products built with these configurations."""
    found = run_model(build(products(), FIXED, *texts), X)[0]
    return float(np.linalg.norm(found - exact()) / np.linalg.norm(exact()))


def info(model: mm.Model) -> dict[str, Any]:
    found: dict[str, Any] = model.core.info()
    return found


# -------------------------------------------------------------------------------------------------- keys with an effect


def test_archs() -> None:
    network: Any = mm.Network()
    assert network.mark_output(network.add_i_abs_node(network.add_input(mm.DataType.FLOAT32, mm.Dims([4])))).ok()
    found = info(build(network, FIXED, '{"archs": ["x86-64-v2", {"x86-64-v3": [1]}, "mtp_372"]}'))
    assert [t["name"] for t in found["targets"]][:2] == ["x86-64-v2", "x86-64-v3"] and len(found["targets"]) >= 2
    assert found["magicmind"]["build_config"]["archs"][2] == "mtp_372"


def test_graph_shape_mutable() -> None:
    fixed, mutable = build(products(), FIXED), build(products())
    assert fixed.get_input_dimensions()[0].GetDims() == [2, 16]
    assert mutable.get_input_dimensions()[0].GetDims()[0] == -1
    assert len(run_model(mutable, X[:1])[0]) == 1


def test_dim_range() -> None:
    model = build(products(), '{"dim_range": {"0": {"min": [1, 16], "max": [4, 16]}}}')
    assert model.get_input_dimensions()[0].GetDims() == [-1, 16]
    assert len(run_model(model, np.ones((4, 16)))[0]) == 4
    with pytest.raises(AssertionError, match=r"5.*1\.\.4"):
        run_model(model, np.ones((5, 16)))


def test_precision_mode() -> None:
    modes = ("force_float32", "qint16_mixed_float32", "force_float16", "qint8_mixed_float32")
    errors = [error(f'{{"precision_config": {{"precision_mode": "{mode}"}}}}', EVERY) for mode in modes]
    assert errors[0] < 1e-5 < errors[1] < 0.05 and 1e-5 < errors[2] < 0.01 and errors[1] < errors[3]
    assert error('{"precision_config": {"precision_mode": "forced_float16"}}') == errors[2]


def test_activation_quant_algo() -> None:
    positive = '{"custom_ranges": {"": {"min": [-1], "max": [16]}}}'
    algorithm = '{"precision_config": {"activation_quant_algo": "%s"}}'
    symmetric, asymmetric = (error(QINT8, positive, algorithm % a) for a in ("symmetric", "asymmetric"))
    assert asymmetric < symmetric  # it has twice the steps for the same range


def test_weight_quant_granularity() -> None:
    granularity = '{"precision_config": {"weight_quant_granularity": "%s"}}'
    per_tensor, per_axis = (error(QINT8, EVERY, granularity % g) for g in ("per_tensor", "per_axis"))
    assert per_axis != per_tensor


def test_custom_nodes() -> None:
    axis = '{"precision_config": {"weight_quant_granularity": "per_axis"}}'
    nodes = '{"custom_nodes": {"IMatMulNode": {"input": {"1": {"quant_granularity": "per_tensor"}}}}}'
    assert error(QINT8, EVERY, axis, nodes) != error(QINT8, EVERY, axis)


def test_custom_ranges() -> None:
    wide = '{"custom_ranges": {"": {"min": [-1600], "max": [1600]}}}'
    assert error(QINT8, wide) > 2 * error(QINT8, EVERY)


def test_computation_preference() -> None:
    preference = '{"computation_preference": "%s"}'
    fast, precise = (error(QINT8, EVERY, preference % p) for p in ("fast", "high_precision"))
    assert 0 < precise < fast  # the first and the last product stay float


def test_type64to32_conversion(onnx_file: str) -> None:
    types = [
        build(from_onnx(onnx_file), FIXED, f'{{"opt_config": {{"type64to32_conversion": {flag}}}}}')
        .get_output_data_types()
        for flag in ("false", "true")
    ]  # fmt: skip
    assert types == [[mm.DataType.FLOAT32, mm.DataType.INT64], [mm.DataType.FLOAT32, mm.DataType.INT32]]


def test_conv_scale_fold(onnx_file: str) -> None:
    """The file's convolution is doubled: its weights hold that, or not."""
    (weights,) = (onnx.numpy_helper.to_array(w) for w in onnx.load(onnx_file).graph.initializer if w.name == "w")
    found = {}
    for flag in ("true", "false"):
        model = build(from_onnx(onnx_file), FIXED, f'{{"opt_config": {{"conv_scale_fold": {flag}}}}}')
        data = model.serialize_to_memory()
        assert data is not None
        largest = np.float32(np.abs(weights).max())
        found[flag] = [np.float32(k * sign * largest).tobytes() in data for k in (1, 2) for sign in (1, -1)]
    assert any(found["true"][2:]) and not any(found["true"][:2])
    assert any(found["false"][:2]) and not any(found["false"][2:])


def test_layouts_of_inputs_and_outputs(onnx_file: str) -> None:
    there, back = ('{"0": {"src": "NCHW", "dst": "NHWC"}}',) * 2
    plain = run_model(build(from_onnx(onnx_file), FIXED), PIXELS)[0]
    model = build(from_onnx(onnx_file), FIXED, f'{{"convert_input_layout": {there}, "convert_output_layout": {back}}}')
    assert model.get_input_dimensions()[0].GetDims() == [1, 8, 8, 3]
    assert model.get_output_dimensions()[0].GetDims() == [1, 1, 1, 4]
    found = run_model(model, PIXELS.transpose(0, 2, 3, 1))[0]
    np.testing.assert_allclose(found, plain.transpose(0, 2, 3, 1), rtol=1e-4)


def test_normalisation_and_channels_in_reverse(onnx_file: str) -> None:
    norm = '{"insert_bn_before_firstnode": {"0": {"mean": [1, 2, 3], "var": [4, 9, 16]}}}'
    model = build(from_onnx(onnx_file), FIXED, norm, '{"rgb2bgr": true}')
    plain = build(from_onnx(onnx_file), FIXED)
    assert model.get_input_data_type(0) is mm.DataType.UINT8
    x = (PIXELS[:, ::-1] - np.array([1, 2, 3]).reshape(3, 1, 1)) / np.array([2, 3, 4]).reshape(3, 1, 1)
    np.testing.assert_allclose(run_model(model, PIXELS)[0], run_model(plain, x)[0], rtol=1e-3)
    assert len(info(model)["steps"]) == len(info(plain)["steps"])  # no step of their own


def test_fusion_enable(onnx_file: str) -> None:
    flags = [f'{{"debug_config": {{"fusion_enable": {flag}}}}}' for flag in ("true", "false")]
    fused, apart = (len(info(build(products(), FIXED, flag))["steps"]) for flag in flags)
    assert apart > fused


def test_print_level(capfd: pytest.CaptureFixture[str]) -> None:
    build(products(), FIXED, '{"debug_config": {"print_ir": {"print_level": 0}}}')
    quiet = "".join(capfd.readouterr())
    build(products(), FIXED, '{"debug_config": {"print_ir": {"print_level": 1}}}')
    assert len("".join(capfd.readouterr())) > len(quiet)


# ----------------------------------------------------------------------------------------------------- keys without one

KEPT = {
    "compute_determinism": True, "enable_refit": True, "cross_compile_toolchain_path": "/nowhere/gcc",
    "crop_config": {"mtp_372": {"plugin": {"lib_path": "/nowhere"}}},
    "opt_config.clustering_launch_enable": True, "opt_config.tfu_enable": True,
}  # fmt: skip


@pytest.mark.parametrize("path", KEPT)
def test_a_key_that_is_kept(path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magicmind.facade.status._said", set())
    document: Any = KEPT[path]
    for part in reversed(path.split(".")):
        document = {part: document}
    with caplog.at_level(logging.WARNING, "magicmind"):
        model = build(products(), FIXED, json.dumps(document))
        assert mm.BuilderConfig().parse_from_string(json.dumps(document)).ok()
    assert caplog.text.count(f"{path} has no effect on this device") == 1
    found, plain = info(model), info(build(products(), FIXED))
    assert found["sections"] == plain["sections"]
    kept = found["magicmind"]["build_config"]
    for part in path.split("."):
        kept = kept[part]
    assert kept == KEPT[path]


def test_every_key_has_a_test() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    several = {
        "convert_input_layout": "layouts_of_inputs_and_outputs",
        "convert_output_layout": "layouts_of_inputs_and_outputs",
        "insert_bn_before_firstnode": "normalisation_and_channels_in_reverse",
        "rgb2bgr": "normalisation_and_channels_in_reverse",
    }
    for path, key in KEYS.items():
        if key.effect:
            assert several.get(path, path.rpartition(".")[2]) in tested, path
    assert {path for path, key in KEYS.items() if not key.effect} == set(KEPT)
