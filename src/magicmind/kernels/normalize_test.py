"""Normalisations against numpy in float64, on every target this CPU runs, with guarded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.codegen.builder import Param, Size
from magicmind.kernels.normalize import ChannelWindow, LpNormalize, Normalize
from magicmind.testing.run_kernel import run_kernel
from magicmind.testing.targets import KERNEL_TARGETS


def random(*shape: int, seed: int = 0, dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def specs(family: Any, shape: tuple[int, ...], **fixed: Any) -> list[tuple[Any, tuple[int, ...]]]:
    """The spec with constant and with run-time sizes (a constant 1 stays one), and the arguments of each."""
    names = {Normalize: ("rows", "period", "channels", "spatial"), LpNormalize: ("outer", "axis", "inner")}
    keys = names.get(family, ("batch", "channels", "spatial"))
    mutable: dict[str, Size] = {
        key: Param(i) if n != 1 else 1 for i, (key, n) in enumerate(zip(keys, shape, strict=True))
    }
    highest = max((p.index + 1 for p in mutable.values() if isinstance(p, Param)), default=0)
    return [
        (family(**fixed, **dict(zip(keys, shape, strict=True))), ()),
        (family(**fixed, **mutable), shape[:highest]),
    ]


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(
    ("rows", "period", "channels", "spatial"),
    [(6, 1, 37, 1), (3, 1, 768, 1), (6, 3, 1, 49), (6, 3, 4, 33), (2, 1, 3, 17), (0, 1, 5, 1)],
)
def test_normalize(rows: int, period: int, channels: int, spatial: int, target: str) -> None:
    x, scale, bias = random(rows, channels, spatial), random(period, channels, seed=1), random(period, channels, seed=2)
    wide = x.astype("f8")
    mean = wide.mean((1, 2), keepdims=True)
    inverse = 1 / np.sqrt(wide.var((1, 2), keepdims=True) + 1e-5)
    which = np.arange(rows) % period
    want = (wide - mean) * inverse * scale[which][..., None] + bias[which][..., None]
    results = []
    for spec, params in specs(Normalize, (rows, period, channels, spatial), dtype="f32", epsilon=1e-5, statistics=True):
        out, means, inverses = np.zeros_like(x), np.zeros(rows, "f4"), np.zeros(rows, "f4")
        run_kernel(spec, [x, scale, bias, out, means, inverses], params, target, 3)
        np.testing.assert_allclose(out, want, rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(means, mean.ravel(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(inverses, inverse.ravel(), rtol=1e-5)
        results.append(out)
    np.testing.assert_array_equal(results[0], results[1])


def test_root_mean_square_in_place() -> None:
    x, scale = random(4, 50), random(50, seed=1)
    want = x / np.sqrt((x.astype("f8") ** 2).mean(1, keepdims=True) + 1e-6) * scale
    run_kernel(Normalize("f32", 4, 1, 50, 1, 1e-6, has_bias=False, centred=False), [x, scale, x])
    np.testing.assert_allclose(x, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("shape", [(3, 37, 1), (2, 5, 33), (1, 1, 1)])
def test_lp_normalize(p: int, shape: tuple[int, int, int], target: str) -> None:
    x = random(*shape)
    x[0, :, 0] = 0
    norm = np.linalg.norm(x.astype("f8"), p, axis=1, keepdims=True)
    want = x / np.where(norm == 0, 1, norm)
    results = []
    for spec, params in specs(LpNormalize, shape, p=p, dtype="f32"):
        out = np.zeros_like(x)
        run_kernel(spec, [x, out], params, target, 2)
        np.testing.assert_allclose(out, want, rtol=2e-6, atol=1e-7)
        results.append(out)
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("floor", [0.0, 4.0])
@pytest.mark.parametrize("shape", [(3, 37, 1), (2, 5, 33)])
def test_norm_with_a_floor(shape: tuple[int, int, int], floor: float, target: str) -> None:
    x, out = random(*shape), np.zeros(shape, "f4")
    x[1, 1, 0] = np.nan
    want = x / np.maximum(np.linalg.norm(x.astype("f8"), 2, axis=1, keepdims=True), floor)
    run_kernel(LpNormalize(2, "f32", *shape, floor), [x, out], (), target, 2)
    np.testing.assert_allclose(out, want, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize(("size", "beta"), [(5, 0.75), (3, 0.6), (4, 0.75)])
def test_lrn(size: int, beta: float, target: str) -> None:
    x = random(2, 7, 33)
    total = np.zeros(x.shape)
    for c in range(7):
        total[:, c] = (x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1].astype("f8") ** 2).sum(1)
    want = x / (1.5 + 0.1 / size * total) ** beta
    results = []
    for spec, params in specs(ChannelWindow, x.shape, size=size, alpha=0.1, beta=beta, bias=1.5, dtype="f32"):
        out = np.zeros_like(x)
        run_kernel(spec, [x, out], params, target, 2)
        np.testing.assert_allclose(out, want, rtol=2e-6)
        results.append(out)
    np.testing.assert_array_equal(results[0], results[1])


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("sizes", [(6, 1, 37, 1), (6, 3, 4, 33)])
def test_float16_with_parameters_in_float32(sizes: tuple[int, ...], target: str) -> None:
    rows, period, channels, spatial = sizes
    x, scale, bias = (
        random(rows, channels, spatial, dtype="f2"),
        random(period, channels, seed=1),
        random(period, channels),
    )
    wide = x.astype("f8")
    normal = (wide - wide.mean((1, 2), keepdims=True)) / np.sqrt(wide.var((1, 2), keepdims=True) + 1e-5)
    which = np.arange(rows) % period
    out = np.zeros_like(x)
    spec = Normalize("f16", rows, period, channels, spatial, 1e-5, parameters="f32")
    run_kernel(spec, [x, scale, bias, out], (), target, 2)
    want = normal * scale[which][..., None] + bias[which][..., None]
    np.testing.assert_allclose(out, want, rtol=6e-4, atol=1e-5)
