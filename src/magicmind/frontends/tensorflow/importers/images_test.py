"""Colours and patches against formulas written down, on graphs made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.testing.tensorflow import GraphBuilder

Array = np.ndarray[Any, Any]


def image(*shape: int) -> Array:
    return np.random.default_rng(5).uniform(0, 1, shape).astype(np.float32)


def hsv(pixel: Array) -> tuple[float, float, float]:
    import colorsys

    return colorsys.rgb_to_hsv(*(float(p) for p in pixel))


def test_colours() -> None:
    import colorsys

    b, x = GraphBuilder(), image(2, 3, 4, 3)
    x[0, 0, 0], x[0, 0, 1] = 0, 0.5
    b.placeholder("x", [-1, 3, 4, 3])
    b.node("RGBToHSV", "hsv", "x")
    b.node("HSVToRGB", "rgb", "hsv")
    b.node("AdjustHue", "hue", "x", np.float32(-0.3))
    b.node("AdjustSaturation", "saturation", "x", np.float32(1.5))
    found, back, hue, saturation = b.run(["hsv", "rgb", "hue", "saturation"], x=x)
    flat = [hsv(p) for p in x.reshape(-1, 3)]
    np.testing.assert_allclose(found.reshape(-1, 3), flat, atol=1e-5)
    np.testing.assert_allclose(back, x, atol=1e-5)
    turned = [colorsys.hsv_to_rgb((h - 0.3) % 1, s, v) for h, s, v in flat]
    np.testing.assert_allclose(hue.reshape(-1, 3), turned, atol=1e-5)
    richer = [colorsys.hsv_to_rgb(h, min(1.5 * s, 1), v) for h, s, v in flat]
    np.testing.assert_allclose(saturation.reshape(-1, 3), richer, atol=1e-5)


def test_contrast() -> None:
    b, x = GraphBuilder(), image(2, 3, 4, 3)
    b.placeholder("x", [-1, 3, 4, 3])
    b.node("AdjustContrastv2", "y", "x", np.float32(1.5))
    mean = x.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(b.run(["y"], x=x)[0], (x - mean) * 1.5 + mean, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "rate", "padding"), [(2, 2, 1, "VALID"), (3, 2, 1, "SAME"), (2, 1, 2, "VALID")]
)
def test_patches(kernel: int, stride: int, rate: int, padding: str) -> None:
    b, x = GraphBuilder(), image(2, 6, 8, 3)
    b.placeholder("x", [-1, 6, 8, 3])
    sizes = {"ksizes": [1, kernel, kernel, 1], "strides": [1, stride, stride, 1], "rates": [1, rate, rate, 1]}
    b.node("ExtractImagePatches", "y", "x", padding=padding, **sizes)
    full = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)]) if padding == "SAME" else x
    reach = (kernel - 1) * rate + 1
    rows, columns = ((n - reach) // stride + 1 for n in full.shape[1:3])
    parts = [
        full[:, i * rate : i * rate + rows * stride : stride, j * rate : j * rate + columns * stride : stride]
        for i in range(kernel)
        for j in range(kernel)
    ]
    np.testing.assert_array_equal(b.run(["y"], x=x)[0], np.concatenate(parts, -1))
    kinds = [node.op_type for node in b.graph(["y"]).model.graph]
    assert ("SpaceToDepth" in kinds) == (kernel == stride)
