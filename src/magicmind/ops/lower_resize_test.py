"""Resize in every mode through its lowering, against onnxruntime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import magicmind.ops.lower_move
import magicmind.ops.lower_reorder
import magicmind.ops.lower_resize  # noqa: F401
from magicmind.testing.check_lowering import check_lowering
from magicmind.testing.run_kernel import runnable_targets

COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def image(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def check(x: Any, attributes: Any, scales: Any = None, sizes: Any = None, **options: Any) -> list[str]:
    return check_lowering("Resize", [x, None, scales, sizes][: 4 if sizes is not None else 3], attributes, **options)


def by_onnxruntime(x: Any, attributes: Any, scales: Any) -> Any:
    node = onnx.helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [onnx.numpy_helper.from_array(scales, "scales")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("rounding", NEAREST)
def test_nearest(rounding: str, coordinates: str) -> None:
    x = image(1, 19, 5, 7)
    how = {"mode": "nearest", "nearest_mode": rounding, "coordinate_transformation_mode": coordinates}
    for scales in (floats(1, 1, 2, 3), floats(1, 1, 0.6, 1.7)):
        check(x, how, scales)
        check(x, how, scales, blocked=True)
    check(x, how, sizes=ints(1, 19, 11, 4))
    check(x, how, sizes=ints(1, 19, 11, 4), shapes={0: (1, 19, "H", "W")}, blocked=True)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_weighted(mode: str, coordinates: str) -> None:
    x = image(2, 19, 5, 7)
    how = {"mode": mode, "coordinate_transformation_mode": coordinates}
    for blocked in (False, True):
        for sizes in (ints(2, 19, 11, 16), ints(2, 19, 3, 1)):
            check(x, how, sizes=sizes, blocked=blocked, rtol=2e-5)
        check(x, how, floats(1, 1, 2, 1.3), blocked=blocked, rtol=2e-5)
        check(x, how, sizes=ints(2, 19, 9, 20), blocked=blocked, shapes={0: (2, 19, "H", "W")}, rtol=2e-5)


def test_cubic_settings() -> None:
    x = image(1, 2, 6, 7)
    for a, outside in itertools.product((-0.5, -0.75), (0, 1)):
        how = {"mode": "cubic", "cubic_coeff_a": a, "exclude_outside": outside}
        check(x, how, sizes=ints(1, 2, 9, 12), rtol=2e-5)
        check(x, how, sizes=ints(1, 2, 9, 12), rtol=2e-5, shapes={0: (1, 2, "H", "W")})


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_crop(mode: str) -> None:
    x = image(1, 3, 6, 7)
    how = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0}
    roi = floats(0, 0, 0.3, -0.2, 1, 1, 0.8, 1.3)
    check_lowering("Resize", [x, roi, None, ints(1, 3, 5, 9)], how, rtol=2e-5)
    inputs = [x, roi, None, ints(1, 3, 5, 9)]
    check_lowering("Resize", inputs, how, shapes={0: (1, 3, "H", "W")}, rtol=2e-5)


def test_other_ranks_and_axes() -> None:
    check(image(1, 3, 9), {"mode": "linear"}, sizes=ints(1, 3, 14), rtol=2e-5)
    check(image(1, 3, 4, 5, 6), {"mode": "linear"}, sizes=ints(1, 3, 7, 3, 9), rtol=2e-5)
    check(image(1, 3, 4, 5, 6), {"mode": "nearest"}, sizes=ints(1, 3, 7, 3, 9))
    check(image(1, 4, 5, 20), {"mode": "linear"}, sizes=ints(1, 9, 11, 20), rtol=2e-5)
    check(image(1, 4, 5, 20), {"mode": "linear", "axes": [1, 2]}, sizes=ints(9, 11), rtol=2e-5)


def test_antialias() -> None:
    x = image(1, 3, 20, 31)
    for mode in ("linear", "cubic"):
        check(x, {"mode": mode, "antialias": 1}, sizes=ints(1, 3, 7, 9), rtol=1e-4)
        check(x, {"mode": mode, "antialias": 1}, sizes=ints(1, 3, 30, 9), rtol=1e-4)
        check(x, {"mode": mode, "antialias": 1, "exclude_outside": 1}, sizes=ints(1, 3, 9, 10), rtol=1e-4)


def test_kept_ratio() -> None:
    for policy in ("not_larger", "not_smaller"):
        how = {"mode": "linear", "keep_aspect_ratio_policy": policy, "axes": [2, 3]}
        check(image(1, 2, 10, 21), how, sizes=ints(7, 30), rtol=2e-5)


def test_bytes() -> None:
    check((image(1, 2, 9, 8) * 50).astype(np.int8), {"mode": "nearest"}, floats(1, 1, 2, 2))


def test_targets_and_run_time_sizes_agree() -> None:
    x = image(1, 16, 13, 17)
    for mode in ("nearest", "linear", "cubic"):
        check(x, {"mode": mode}, sizes=ints(1, 16, 30, 21), blocked=True, targets=runnable_targets(), rtol=2e-5)


@pytest.mark.parametrize("target", runnable_targets())
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_float16_is_sampled_in_float32(mode: str, blocked: bool, target: str) -> None:
    x = image(1, 19, 5, 7).astype(np.float16)
    for attributes in ({"mode": mode}, {"mode": mode, "antialias": 1}):
        scales = floats(1, 1, 0.6, 2.5)
        wide = by_onnxruntime(x.astype(np.float32), attributes, scales)
        check(x, attributes, scales, blocked=blocked, targets=[target], want=[wide], rtol=3e-3)


@pytest.mark.parametrize("blocked", [False, True])
def test_nearest_moves_bytes(blocked: bool) -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 19, 5, 7)).astype(np.uint8)
    kernels = check(x, {"mode": "nearest"}, floats(1, 1, 2, 3), blocked=blocked, targets=runnable_targets())
    assert any("resize" in name for name in kernels)
    check(x, {"mode": "nearest"}, floats(1, 1, 2, 2), shapes={0: ("N", 19, "H", "W")}, blocked=blocked)
