"""Plain convolutions against onnxruntime: run-time weights, three axes, float64, transposed, symbolic padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.check_lowering import check_lowering
from magicmind.testing.run_kernel import runnable_targets

RNG = np.random.default_rng(8)


def _draw(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def _check(op: str, inputs: list[Any], attributes: dict[str, Any], **words: Any) -> None:
    words = {"rtol": 2e-5, **words}
    kernels = check_lowering(op, inputs, attributes, passes=True, **words)
    assert any("plain" in name for name in kernels), kernels


def test_weights_and_bias_that_arrive_at_run_time() -> None:
    inputs = [_draw(2, 6, 9, 11), _draw(20, 3, 3, 2), _draw(20)]
    shapes = {i: np.shape(x) for i, x in enumerate(inputs)}
    attributes = {"group": 2, "pads": [1, 0, 1, 2], "strides": [2, 1], "dilations": [1, 2]}
    _check("Conv", inputs, attributes, shapes=shapes, targets=runnable_targets())


@pytest.mark.parametrize("group", [1, 3])
def test_three_axes(group: int) -> None:
    inputs = [_draw(1, 6, 5, 6, 19), _draw(9, 6 // group, 3, 2, 3), _draw(9)]
    attributes = {"group": group, "pads": [1, 0, 2, 1, 1, 1], "strides": [1, 2, 1]}
    _check("Conv", inputs, attributes)
    _check("Conv", inputs, attributes, shapes={0: ["N", 6, "D", "H", "W"]})


def test_float64() -> None:
    inputs = [_draw(2, 5, 9).astype(np.float64), _draw(7, 5, 3).astype(np.float64)]
    _check("Conv", inputs, {"pads": [1, 1]}, rtol=1e-13, oracle="onnx")


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_same_padding_of_a_size_known_at_run_time(mode: str) -> None:
    inputs = [_draw(1, 4, 10, 13), _draw(6, 4, 3, 3)]
    _check("Conv", inputs, {"auto_pad": mode, "strides": [2, 2]}, shapes={0: [1, 4, "H", "W"]})


@pytest.mark.parametrize(
    ("x", "w", "attributes"),
    [
        ((1, 4, 5, 6), (4, 3, 3, 3), {"strides": [3, 2]}),
        ((2, 4, 5, 6), (4, 3, 3, 2), {"strides": [2, 1], "pads": [1, 0, 0, 1], "output_padding": [1, 0], "group": 2}),
        ((1, 3, 3, 4, 5), (3, 18, 2, 3, 3), {"strides": [2, 2, 2], "dilations": [1, 2, 1]}),
        ((1, 3, 7), (3, 2, 4), {"strides": [3], "output_shape": [20]}),
    ],
)
def test_transposed(x: tuple[int, ...], w: tuple[int, ...], attributes: dict[str, Any]) -> None:
    inputs = [_draw(*x), _draw(*w), _draw(w[1] * attributes.get("group", 1))]
    _check("ConvTranspose", inputs, attributes, shapes={i: np.shape(v) for i, v in enumerate(inputs)})


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_float16_is_convolved_in_float32(op: str) -> None:
    x, w = _draw(1, 4, 7, 6), _draw(4, 4, 3, 3)
    inputs = [x.astype(np.float16), w.astype(np.float16)]
    check_lowering(op, inputs, {"strides": [2, 2]}, passes=True, rtol=2e-2, oracle="onnx")
