"""GridSample, RoiAlign and DeformConv against onnxruntime and onnx's evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(0)


def f32(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_grid_sample(mode: str, padding: str, corners: int) -> None:
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    grid = RNG.uniform(-1.6, 1.6, (2, 4, 3, 2)).astype(np.float32)
    check_lowering("GridSample", [f32(2, 3, 5, 6), grid], attributes, passes=True, rtol=1e-4, opset=20)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_nothing_is_read_from_far_outside(mode: str) -> None:
    grid = np.array([[[[np.inf, 0], [0, -np.inf], [np.nan, 0], [1e30, 1e30], [-3, -3]]]], np.float32)
    inputs, want = [f32(1, 3, 5, 6), grid], [np.zeros((1, 3, 1, 5), np.float32)]
    check_lowering("GridSample", inputs, {"mode": mode}, passes=True, opset=20, want=want)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_grid_sample_of_volumes_and_mutable_sizes(mode: str) -> None:
    grid = RNG.uniform(-1.3, 1.3, (2, 2, 4, 3, 3)).astype(np.float32)
    inputs, attributes = [f32(2, 3, 4, 5, 6), grid], {"mode": mode}
    shapes: dict[int, list[int | str]] = {0: ["N", 3, "D", "H", "W"], 1: ["N", "A", "B", "C", 3]}
    check_lowering("GridSample", inputs, attributes, shapes=shapes, passes=True, rtol=1e-4, opset=20)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize("place", ["half_pixel", "output_half_pixel"])
def test_roi_align(mode: str, sampling: int, place: str) -> None:
    rois = np.array([[0, 0, 9, 9], [3, 5, 8, 7.5], [-3, -2, 14, 6]], np.float32)
    attributes = {
        "mode": mode,
        "sampling_ratio": sampling,
        "coordinate_transformation_mode": place,
        "output_height": 3,
        "output_width": 2,
        "spatial_scale": 0.9,
    }
    inputs = [f32(2, 3, 10, 11), rois, np.array([0, 1, 1])]
    shapes = {0: ("N", 3, "H", "W"), 1: ("R", 4), 2: ("R",)}
    check_lowering("RoiAlign", inputs, attributes, shapes=shapes, passes=True, rtol=1e-4, opset=16)


@pytest.mark.parametrize("masked", [False, True])
def test_deform_conv(masked: bool) -> None:
    attributes = {"pads": [1, 0, 1, 0], "strides": [1, 2], "offset_group": 2, "group": 2, "kernel_shape": [3, 2]}
    mask = RNG.uniform(0, 1, (2, 12, 6, 4)).astype(np.float32) if masked else None
    inputs = [f32(2, 4, 6, 8), f32(6, 2, 3, 2), f32(2, 24, 6, 4), f32(6), mask]
    shapes = {0: inputs[0].shape, 2: inputs[2].shape}
    check_lowering("DeformConv", inputs, attributes, shapes=shapes, passes=True, rtol=1e-4, opset=19, oracle="onnx")
