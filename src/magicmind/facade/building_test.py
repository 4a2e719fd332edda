"""What a configuration makes of a network of a file: ends, layouts, normalisation, ranges; builds that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import magicmind
import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import (
    FIXED,
    build,
    config,
    from_onnx,
    from_torch,
    names,
    run,
    run_model,
)


def test_an_input_of_bytes_is_converted_inside(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    x = network.get_input(0)
    assert x is not None and x.set_data_type(mm.DataType.UINT8).ok() and x.get_data_type() is mm.DataType.UINT8
    model = build(network, FIXED)
    assert model.get_input_data_types() == [mm.DataType.UINT8]
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, 8, 8))
    expected = run(from_onnx(onnx_file), pixels.astype(np.float32), config=FIXED)
    np.testing.assert_allclose(run_model(model, pixels)[0], expected[0], rtol=1e-5)


def test_types_of_outputs(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    assert network.get_output(0).set_data_type(mm.DataType.FLOAT16).ok()  # type: ignore[union-attr]
    model = build(network, FIXED, '{"opt_config": {"type64to32_conversion": true}}')
    assert model.get_output_data_types() == [mm.DataType.FLOAT16, mm.DataType.INT32]


LAYOUT = '{"convert_input_layout": {"0": {"src": "NCHW", "dst": "NHWC"}}}'
NORM = '{"insert_bn_before_firstnode": {"0": {"mean": [10.5, 20, 30], "var": [4, 9.0, 16]}}}'
MEAN, STD = np.array([10.5, 20, 30]).reshape(1, 3, 1, 1), np.array([2.0, 3, 4]).reshape(1, 3, 1, 1)
PIXELS = np.random.default_rng(2).integers(0, 256, (2, 3, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize("load", ["onnx", "torch"])
@pytest.mark.parametrize("layout", [True, False])
def test_normalisation_makes_an_input_of_bytes(load: str, layout: bool, onnx_file: str, torch_file: str) -> None:
    """Without padding the convolution takes the normalisation in; with padding the border stays zero."""
    make: Callable[[], mm.Network] = lambda: from_onnx(onnx_file) if load == "onnx" else from_torch(torch_file)  # noqa: E731

    def shaped() -> mm.Network:
        network = make()
        assert network.get_input(0).set_dimension(mm.Dims([2, 3, 8, 8])).ok()  # type: ignore[union-attr]
        return network

    network = shaped()
    network.get_input(0).set_data_type(mm.DataType.FLOAT32)  # type: ignore[union-attr]  # has no say here
    model = build(network, FIXED, NORM, *([LAYOUT] if layout else []))
    assert model.get_input_data_types() == [mm.DataType.UINT8]
    assert model.get_input_dimensions()[0].GetDims() == ([2, 8, 8, 3] if layout else [2, 3, 8, 8])
    expected = run(shaped(), ((PIXELS - MEAN) / STD).astype(np.float32), config=FIXED)
    found = run_model(model, PIXELS.transpose(0, 2, 3, 1) if layout else PIXELS)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_channels_in_reverse(onnx_file: str) -> None:
    network, plain = from_onnx(onnx_file), from_onnx(onnx_file)
    found = run(network, PIXELS[:1, ::-1], config='{"graph_shape_mutable": false, "rgb2bgr": true}')
    np.testing.assert_allclose(found[0], run(plain, PIXELS[:1], config=FIXED)[0], rtol=1e-5)


def test_channels_in_reverse_with_normalisation(onnx_file: str) -> None:
    network, plain = from_onnx(onnx_file), from_onnx(onnx_file)
    reverse = '{"graph_shape_mutable": false, "rgb2bgr": true, ' + NORM[1:]
    found = run(network, PIXELS[:1, ::-1], config=reverse)
    expected = run(plain, PIXELS[:1], config='{"graph_shape_mutable": false, ' + NORM[1:])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-3)


def test_an_output_in_another_layout(torch_file: str) -> None:
    def shaped() -> mm.Network:
        network = from_torch(torch_file)
        assert network.get_input(0).set_dimension(mm.Dims([1, 3, 8, 8])).ok()  # type: ignore[union-attr]
        return network

    x = PIXELS[:1].astype(np.float32)
    convert = '{"graph_shape_mutable": false, "convert_output_layout": {"1": {"src": "NCHW", "dst": "NHWC"}}}'
    found, expected = run(shaped(), x, config=convert), run(shaped(), x, config=FIXED)
    np.testing.assert_allclose(found[1], expected[1].transpose(0, 2, 3, 1), rtol=1e-5)


def test_ranges_are_in_the_order_of_the_file(onnx_file: str) -> None:
    ranges = '{"dim_range": {"0": {"min": [1, 3, 8, 8], "max": [4, 3, 16, 8]}}}'
    model = build(from_onnx(onnx_file), ranges, LAYOUT)
    assert model.get_input_dimensions()[0].GetDims() == [-1, -1, 8, 3]
    assert run_model(model, np.ones((3, 12, 8, 3)))[0].shape == (3, 4, 1, 1)


def test_a_range_that_contradicts_the_present_size(onnx_file: str, caplog: pytest.LogCaptureFixture) -> None:
    ranges = '{"dim_range": {"0": {"min": [1, 8, 8, 3], "max": [4, 8, 8, 3]}}}'  # as if the network were NHWC
    model = build(from_onnx(onnx_file), ranges)
    assert model.get_input_dimensions()[0].GetDims() == [-1, 3, 8, 8]
    assert "outside 8..8" in caplog.text


def test_a_mutable_network_without_range_takes_any_size(onnx_file: str) -> None:
    model = build(from_onnx(onnx_file))
    assert model.get_input_dimensions()[0].GetDims() == [-1, 3, -1, -1]  # the weights fix the channels
    assert run_model(model, np.ones((2, 3, 9, 10)))[0].shape == (2, 4, 1, 1)


def test_the_configuration_is_in_the_manifest(onnx_file: str, tmp_path: Path) -> None:
    model = build(from_onnx(onnx_file), '{"archs": [{"mtp_372": [6, 8]}], "enable_refit": true}', LAYOUT)
    assert model.serialize_to_file(tmp_path / "m").ok()
    info = magicmind.load(tmp_path / "m").info()["magicmind"]
    assert info["build_config"]["archs"] == [{"mtp_372": [6, 8]}] and info["build_config"]["enable_refit"] is True
    assert info["layouts"]["inputs"] == ["NHWC"]


@pytest.mark.parametrize(
    "text",
    [
        '{"archs": ["mtp_372"]}', '{"archs": [{"mtp_592": [2]}, "tp_322"]}', '{"archs": ["x86-64-v2", "native"]}',
        '{"debug_config": {"fusion_enable": false}}', '{"opt_config": {"conv_scale_fold": false}}',
        '{"computation_preference": "fast"}', '{"cross_compile_toolchain_path": "/none"}', '{"dim_range": {}}',
    ],
)  # fmt: skip
def test_configurations_that_build_the_same_network(text: str, onnx_file: str) -> None:
    x = PIXELS[:1].astype(np.float32)
    found, expected = run(from_onnx(onnx_file), x, config=text), run(from_onnx(onnx_file), x)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)


def test_fusion_can_be_switched_off(onnx_file: str, tmp_path: Path) -> None:
    steps = {}
    for flag in ("true", "false"):
        path = tmp_path / flag
        model = build(from_onnx(onnx_file), FIXED, f'{{"debug_config": {{"fusion_enable": {flag}}}, '
                      '"opt_config": {"conv_scale_fold": false}}')  # fmt: skip
        assert model.serialize_to_file(path).ok()
        steps[flag] = len(magicmind.load(path).info()["steps"])
    assert steps["false"] > steps["true"]


BAD_BUILDS = {
    "an input that is not there": '{"dim_range": {"3": {"min": [1], "max": [2]}}}',
    "a range of another rank": '{"dim_range": {"0": {"min": [1], "max": [2]}}}',
    "a range upside down": '{"dim_range": {"0": {"min": [4, 3, 8, 8], "max": [1, 3, 8, 8]}}}',
    "a target nobody knows": '{"archs": ["z80"]}',
    "means of other channels": '{"insert_bn_before_firstnode": {"0": {"mean": [1, 2], "var": [1, 2]}}}',
    "a layout of another rank": '{"convert_input_layout": {"0": {"src": "NCT", "dst": "NTC"}}}',
    "a layout of an output that is not there": '{"convert_output_layout": {"5": {"src": "NCHW", "dst": "NHWC"}}}',
    "integers without ranges": '{"precision_config": {"precision_mode": "qint8_mixed_float32"}}',
}


@pytest.mark.parametrize("what", BAD_BUILDS)
def test_builds_that_fail(what: str, onnx_file: str, caplog: pytest.LogCaptureFixture) -> None:
    builder = mm.Builder()
    assert builder.build_model("n", from_onnx(onnx_file), config(BAD_BUILDS[what])) is None
    assert not builder.status.ok() and builder.status.error_message in caplog.text


def test_what_is_built_of(onnx_file: str) -> None:
    builder = mm.Builder()
    assert builder.build_model("n", "network", mm.BuilderConfig()) is None  # type: ignore[arg-type]
    assert builder.build_model("n", from_onnx(onnx_file), {}) is None  # type: ignore[arg-type]
    assert builder.build_model("n", mm.Network(), mm.BuilderConfig()) is None
    assert builder.build_model("n", from_onnx(onnx_file)) is not None  # without configuration


def test_a_network_that_was_built_is_closed(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    x = network.get_input(0)
    node = network.get_all_nodes_in_network()[0]
    assert x is not None and build(network, FIXED) is not None
    for status in (
        x.set_dimension(mm.Dims([1, 3, 8, 8])),
        x.set_data_type(mm.DataType.UINT8),
        network.mark_output(x),
        network.unmark_output(network.get_output(0)),  # type: ignore[arg-type]
        node.set_precision(0, mm.DataType.FLOAT32),
        node.update_input(0, x),
        mm.Parser(mm.ModelKind.kOnnx).parse(network, onnx_file),
    ):
        assert not status.ok() and "built" in str(status)
    assert network.add_input(mm.DataType.FLOAT32) is None
    assert mm.Builder().build_model("n", network, config(FIXED)) is None
    assert names(network) == (["x"], ["pooled", "label"])  # looking is still possible
