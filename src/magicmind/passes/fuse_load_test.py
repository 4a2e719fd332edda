"""What stands before the first convolution goes into it; near misses say why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind import knobs
from magicmind.testing.magicmind_api import build, run_model

Array = np.ndarray[Any, np.dtype[Any]]

RNG = np.random.default_rng(4)
PIXELS = RNG.integers(0, 256, (2, 11, 37, 3)).astype(np.uint8)
MEAN, VARIANCE = [104.0, 117.0, 123.0], [3400.0, 3500.0, 3600.0]
NORM = f'{{"insert_bn_before_firstnode": {{"0": {{"mean": {MEAN}, "var": {VARIANCE}}}}}}}'
LAYOUT = '{"convert_input_layout": {"0": {"src": "NCHW", "dst": "NHWC"}}}'
FIXED = '{"graph_shape_mutable": false}'


def network(pad: int, *, readers: int = 1, channels: int = 3) -> mm.Network:
    """x [2, channels, 11, 37] -> `readers` convolutions."""
    rng = np.random.default_rng(5)
    made = mm.Network()
    x = made.add_input(mm.DataType.FLOAT32, mm.Dims([2, channels, 11, 37]))
    for _ in range(readers):
        weights = rng.standard_normal((20, channels, 3, 3)).astype(np.float32)
        w = made.add_i_const_node(mm.DataType.FLOAT32, mm.Dims(weights.shape), weights)
        conv = made.add_i_conv_node(x, w, None)
        assert conv.set_layout(mm.Layout.NCHW).ok()
        conv.set_pad(pad, pad)
        assert made.mark_output(conv).ok()
    return made


def normalised(pixels: Array) -> Array:
    """As the model does it, in NCHW."""
    found: Array = ((pixels - np.array(MEAN)) / np.sqrt(VARIANCE)).transpose(0, 3, 1, 2).astype(np.float32)
    return found


def steps(model: mm.Model) -> list[str]:
    return [step["op"] for step in model.core.info()["steps"]]


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("texts", [(NORM,), (LAYOUT,), (NORM, LAYOUT)], ids=["norm", "layout", "both"])
@pytest.mark.parametrize("mode", ["force_float32", "force_float16"])
def test_an_image_is_read_by_the_convolution(pad: int, texts: tuple[str, ...], mode: str) -> None:
    precision = f'{{"precision_config": {{"precision_mode": "{mode}"}}}}'
    model = build(network(pad), FIXED, precision, *texts)
    assert steps(model)[0] == "FirstConv" and not {"Transpose", "Elementwise"} & set(steps(model))
    x = PIXELS.astype(np.float64) if NORM in texts else PIXELS / 256.0
    plain = normalised(x) if NORM in texts else x.transpose(0, 3, 1, 2).astype(np.float32)
    expected = run_model(build(network(pad), FIXED), plain)[0]
    found = run_model(model, x if LAYOUT in texts else x.transpose(0, 3, 1, 2))[0]
    close = 1e-4 if mode == "force_float32" else 2e-2
    np.testing.assert_allclose(found, expected, rtol=close, atol=close)


@pytest.mark.parametrize("mode", ["qint8_mixed_float32", "qint8_mixed_float16", "qint16_mixed_float32"])
def test_an_image_is_quantised_as_it_is_read(mode: str) -> None:
    """With the same bits as by a step of its own."""
    precision = f'{{"precision_config": {{"precision_mode": "{mode}"}}}}'
    ranges = '{"custom_ranges": {"": {"max": [3], "min": [-3]}}}'
    found = []
    for skipped in ("", "fuse_load"):
        with knobs.SKIP.set(skipped):
            model = build(network(1), FIXED, precision, ranges, NORM, LAYOUT)
        assert (steps(model)[0] == "FirstConv") == (not skipped)
        found.append(run_model(model, PIXELS)[0])
    np.testing.assert_array_equal(found[0], found[1])


def test_sizes_that_vary() -> None:
    ranges = '{"dim_range": {"0": {"min": [1, 3, 8, 8], "max": [4, 3, 32, 64]}}}'
    model = build(network(1), ranges, NORM, LAYOUT)
    assert "FirstConv" in steps(model)
    for shape in ((1, 8, 8, 3), (4, 31, 47, 3)):
        pixels = RNG.integers(0, 256, shape)
        expected = run_model(build(network(1), ranges), normalised(pixels))[0]
        np.testing.assert_allclose(run_model(model, pixels)[0], expected, rtol=1e-4, atol=1e-4)


def test_several_readers_share_one_conversion() -> None:
    model = build(network(1, readers=2), FIXED, NORM, LAYOUT)
    assert "FirstConv" not in steps(model)
    assert run_model(model, PIXELS)[0].shape == (2, 20, 11, 37)


def test_many_channels_are_blocked_first() -> None:
    model = build(network(1, channels=24), FIXED, LAYOUT)
    assert "FirstConv" not in steps(model)
