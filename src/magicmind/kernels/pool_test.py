"""Pooling kernels against the window's definition written out in numpy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from magicmind.codegen.builder import Param
from magicmind.kernels.global_pool import GlobalPool
from magicmind.kernels.jit_testing import X86, run
from magicmind.kernels.pool import MaxPoolIndices, Pool, Reduction, Requantise, Window

# size, window, stride, dilation, before, after
AXES = [
    (1, 1, 1, 1, 0, 0),
    (16, 2, 2, 1, 0, 0),
    (17, 3, 2, 1, 1, 1),
    (31, 3, 1, 1, 1, 1),
    (13, 2, 3, 2, 0, 1),
    (15, 9, 1, 1, 4, 4),
    (5, 5, 5, 1, 0, 0),
    (3, 4, 2, 1, 3, 3),
    (67, 3, 2, 1, 0, 2),
]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def window(case: tuple[int, ...]) -> Any:
    size, w, stride, dilation, before, after = case
    out = (size + before + after - (w - 1) * dilation - 1) // stride + 1
    return Window(size, out, w, stride, dilation, before, after)


def reference(x: np.ndarray, axes: tuple[Any, ...], reduction: Reduction, count_pad: bool) -> np.ndarray:
    """x [planes, size..., unit] -> [planes, out..., unit] in float64."""
    out: np.ndarray = np.zeros((x.shape[0], *(a.out for a in axes), x.shape[-1]))
    for o in itertools.product(*(range(a.out) for a in axes)):
        at: Any = (slice(None), *o)
        taps = [
            [c * a.stride - a.before + t * a.dilation for t in range(a.window)] for c, a in zip(o, axes, strict=True)
        ]
        inside = [[i for i in t if 0 <= i < a.size] for t, a in zip(taps, axes, strict=True)]
        count = math.prod(
            [
                len([i for i in t if i < a.size + a.after]) if count_pad else len(v)
                for t, v, a in zip(taps, inside, axes, strict=True)
            ]
        )
        v = x[np.ix_(range(x.shape[0]), *inside, range(x.shape[-1]))].astype(np.float64)
        v = v.reshape(x.shape[0], -1, x.shape[-1])
        if reduction.kind == "max":
            out[at] = v.max(axis=1, initial=-np.inf)
        elif reduction.kind == "avg":
            out[at] = v.sum(axis=1) / max(count, 1)
        else:
            out[at] = (np.abs(v) ** reduction.p).sum(axis=1) ** (1 / reduction.p)
    return out


def mutable(spec: Any) -> tuple[Pool, list[int]]:
    """The same pool with every size known at run time only."""
    values: list[int] = [spec.planes]
    axes = []
    for a in spec.axes:
        base = len(values)
        values += [a.size, a.out, a.before, a.after]
        axes.append(
            Window(Param(base), Param(base + 1), a.window, a.stride, a.dilation, Param(base + 2), Param(base + 3))
        )
    return Pool(spec.reduction, Param(0), tuple(axes), spec.unit, spec.dtype, spec.count_pad), values


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("unit", [16, 1])
@pytest.mark.parametrize(
    "reduction", [Reduction("max"), Reduction("avg"), Reduction("lp", 2), Reduction("lp", 1)], ids=str
)
def test_windows(reduction: Reduction, unit: int, target: str, rng: np.random.Generator) -> None:
    if reduction.kind == "lp" and target != X86[0]:
        return  # shares everything with the average but the sum's terms
    every = reduction.kind == "avg" and target == X86[-1]
    for i, case in enumerate(AXES if every else AXES[2:4] + AXES[5:8:2]):
        axes = (window(AXES[(i + 3) % len(AXES)]), window(case))
        spec = Pool(reduction, 2, axes, unit, count_pad=i % 2 == 0)
        x = rng.standard_normal((2, *(a.size for a in axes), unit)).astype(np.float32)
        out = np.zeros((2, *(a.out for a in axes), unit), np.float32)
        (got,) = run(spec, target, [x], [out], threads=1 + i % 3)
        np.testing.assert_allclose(got, reference(x, axes, reduction, spec.count_pad), rtol=1e-5, atol=1e-5)
        free, values = mutable(spec)
        (again,) = run(free, target, [x], [out], values, threads=2)
        np.testing.assert_array_equal(got, again)


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(rank: int, target: str, rng: np.random.Generator) -> None:
    axes = tuple(window(c) for c in [(5, 2, 1, 1, 0, 1), (4, 3, 2, 1, 1, 1), (19, 3, 1, 1, 1, 1)][-rank:])
    for unit, kind in itertools.product((1, 16), ("max", "avg")):
        x = rng.standard_normal((3, *(a.size for a in axes), unit)).astype(np.float32)
        out = np.zeros((3, *(a.out for a in axes), unit), np.float32)
        (got,) = run(Pool(Reduction(kind), 3, axes, unit), target, [x], [out])
        np.testing.assert_allclose(got, reference(x, axes, Reduction(kind), False), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("unit", [16, 1])
@pytest.mark.parametrize("dtype", ["i8", "u8", "i16", "u16"])
def test_narrow_whole_numbers(dtype: str, unit: int, rng: np.random.Generator) -> None:
    axes = (window(AXES[2]), window(AXES[3]))
    kind = np.dtype(f"{dtype[0]}{int(dtype[1:]) // 8}")
    x = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, (2, 17, 31, unit)).astype(kind)
    (got,) = run(Pool(Reduction("max"), 2, axes, unit, dtype), "x86-64-v3", [x], [np.zeros((2, 9, 31, unit), kind)])
    np.testing.assert_array_equal(got, reference(x, axes, Reduction("max"), False).astype(kind))


def quantised(total: np.ndarray, count: Any, scale: float, y_zero: int) -> np.ndarray:
    """As `Requantise` says."""
    factor = np.float32(scale) / np.asarray(count, np.float32)
    return np.asarray(np.clip(np.rint(total.astype(np.float32) * factor) + y_zero, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("unit", [16, 1])
@pytest.mark.parametrize("count_pad", [False, True])
def test_averages_of_bytes(count_pad: bool, unit: int, target: str, rng: np.random.Generator) -> None:
    axes = (window(AXES[2]), window(AXES[5]))
    reduction = Reduction("avg", requantise=Requantise(1.37, 100, 21))
    x = rng.integers(0, 256, (3, 17, 15, unit)).astype(np.uint8)
    ones, out = np.ones_like(x[:1, ..., :1]), np.zeros((3, 9, 15, unit), np.uint8)
    positive, negative = (np.maximum(s * (x.astype(np.int32) - 100), 0) for s in (1, -1))
    total = reference(positive, axes, Reduction("lp", 1), False) - reference(negative, axes, Reduction("lp", 1), False)
    inside = reference(ones, axes, Reduction("lp", 1), False)
    count = np.round(inside / np.maximum(reference(ones, axes, Reduction("avg"), True), 1e-9)) if count_pad else inside
    spec = Pool(reduction, 3, axes, unit, "u8", count_pad)
    (got,) = run(spec, target, [x], [out], threads=2)
    np.testing.assert_array_equal(got, quantised(total, count, 1.37, 21))
    free, values = mutable(spec)
    (again,) = run(free, target, [x], [out], values)
    np.testing.assert_array_equal(got, again)


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("pixels", [1, 16, 49, 211])
def test_global_averages_of_bytes(pixels: int, target: str, rng: np.random.Generator) -> None:
    for unit in (1, 16):
        x = rng.integers(0, 256, (5, pixels, unit)).astype(np.uint8)
        total = (x.astype(np.int32) - 3).sum(1)
        reduction = Reduction("avg", requantise=Requantise(0.93, 3, 7))
        out = np.zeros((5, unit), np.uint8)
        (got,) = run(GlobalPool(reduction, 5, pixels, unit, "u8"), target, [x], [out])
        np.testing.assert_array_equal(got, quantised(total, pixels, 0.93, 7))
        free = GlobalPool(reduction, Param(0), Param(1), unit, "u8")
        (again,) = run(free, target, [x], [out], [5, pixels], threads=2)
        np.testing.assert_array_equal(got, again)
        (largest,) = run(GlobalPool(Reduction("max"), 5, pixels, unit, "u8"), target, [x], [out])
        np.testing.assert_array_equal(largest, x.max(1))


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("unit", [16, 1])
def test_float16(unit: int, target: str, rng: np.random.Generator) -> None:
    axes = (window(AXES[2]), window(AXES[3]))
    x = rng.standard_normal((2, 17, 31, unit)).astype(np.float16)
    out = np.zeros((2, 9, 31, unit), np.float16)
    for reduction in (Reduction("max"), Reduction("avg"), Reduction("lp", 2)):
        (got,) = run(Pool(reduction, 2, axes, unit, "f16"), target, [x], [out])
        want = reference(x, axes, reduction, False)
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-6)
    (mean,) = run(GlobalPool(Reduction("avg"), 34, 31, unit, "f16"), target, [x], [np.zeros((34, unit), np.float16)])
    np.testing.assert_allclose(mean, x.astype("f8").mean(2).reshape(34, unit), rtol=1e-3, atol=1e-4)


def test_empty() -> None:
    axes = (window(AXES[1]), window(AXES[1]))
    empty = np.zeros((0, 16, 16, 16), np.float32)
    run(Pool(Reduction("max"), 0, axes, 16), "x86-64-v3", [empty], [np.zeros((0, 8, 8, 16), np.float32)])


@pytest.mark.parametrize("column_major", [False, True])
def test_indices(column_major: bool, rng: np.random.Generator) -> None:
    axes = (window(AXES[2]), window(AXES[4]))
    x = rng.integers(0, 9, (2, 17, 13)).astype(np.float32)
    shape = (2, *(a.out for a in axes))
    spec = MaxPoolIndices(2, axes, column_major=column_major)
    best, where = run(spec, "x86-64-v3", [x], [np.zeros(shape, np.float32), np.zeros(shape, np.int64)])
    np.testing.assert_array_equal(best, reference(x[..., None], axes, Reduction("max"), False)[..., 0])
    plane, inside = np.divmod(where, 17 * 13)
    row, column = (inside % 17, inside // 17) if column_major else (inside // 13, inside % 13)
    np.testing.assert_array_equal(x[plane, row, column], best)


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("pixels", [1, 15, 16, 17, 49, 211])
def test_global(pixels: int, target: str, rng: np.random.Generator) -> None:
    for unit, kind in itertools.product((1, 16), ("avg", "max", "lp")):
        x = rng.standard_normal((5, pixels, unit)).astype(np.float32)
        spec = GlobalPool(Reduction(kind), 5, pixels, unit)
        (got,) = run(spec, target, [x], [np.zeros((5, unit), np.float32)])
        want = {"avg": x.mean(1), "max": x.max(1), "lp": np.sqrt((x * x).sum(1))}[kind]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        free = GlobalPool(Reduction(kind), Param(0), Param(1), unit)
        (again,) = run(free, target, [x], [np.zeros((5, unit), np.float32)], [5, pixels], threads=2)
        np.testing.assert_array_equal(got, again)
