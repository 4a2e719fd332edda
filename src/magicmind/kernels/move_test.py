"""Strided copies and padding are exact on every target, for constant and run-time sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.codegen.builder import Param
from magicmind.kernels.jit_testing import X86, run
from magicmind.kernels.move import Copy
from magicmind.kernels.pad import Pad

DTYPES = {"i8": np.int8, "i16": np.int16, "f32": np.float32, "i64": np.int64}


def some(shape: Any, dtype: str) -> Any:
    return np.random.default_rng(5).integers(-100, 100, shape).astype(DTYPES[dtype])


def steps(a: Any) -> tuple[int, ...]:
    """Strides in elements."""
    if a.size == 0:  # numpy's strides of an empty array mean nothing
        return tuple(int(np.prod(a.shape[i + 1 :])) for i in range(a.ndim))
    return tuple(s // a.itemsize for s in a.strides)


def mutable(spec: Copy) -> tuple[Copy, list[int]]:
    """The same copy with all extents and all strides but units and zeros known at run time only."""
    values: list[int] = []

    def free(sizes: Any) -> Any:
        result = []
        for size in sizes:
            if size in (0, 1):
                result.append(size)
                continue
            values.append(size)
            result.append(Param(len(values) - 1))
        return tuple(result)

    return Copy(free(spec.extents), free(spec.source), free(spec.target), spec.dtype), values


def check(view: Any, source: Any, dtype: str, target: str, mode: str) -> None:
    """Copying `view` (into `source`, at its first element) must give a contiguous copy of it."""
    out = np.zeros(view.shape, view.dtype)
    spec = Copy(view.shape, steps(view), steps(out), dtype)
    assert spec.mode == mode
    (got,) = run(spec, target, [source], [out], threads=2)
    np.testing.assert_array_equal(got, view)
    free, values = mutable(spec)
    (got,) = run(free, target, [source], [out], values, threads=3)
    np.testing.assert_array_equal(got, view)


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("dtype", DTYPES)
def test_runs(dtype: str, target: str) -> None:
    shapes: list[tuple[int, ...]] = [(17,), (2, 3, 31), (2, 70000), (3, 0)]
    for shape in shapes if dtype == "f32" else shapes[1:2]:
        x = some(shape, dtype)
        check(x, x, dtype, target, "copy")
    x = some((4, 5, 64), dtype)
    check(x[:, ::2, :33], x, dtype, target, "copy")
    x = some((5, 1), dtype)
    check(np.broadcast_to(x, (5, 37)), x, dtype, target, "fill")


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("dtype", DTYPES)
def test_transposes(dtype: str, target: str) -> None:
    shapes = [(17, 33), (64, 3), (31, 2000), (2, 2), (16, 16), (3, 64), (15, 130)]
    for shape in shapes if (dtype, target) == ("f32", X86[-1]) else shapes[: 2 if dtype == "f32" else 1]:
        x = some(shape, dtype)
        check(x.T, x, dtype, target, "transpose")
    x = some((2, 5, 18, 19), dtype)
    for order in [(0, 3, 1, 2), (3, 2, 1, 0)] if dtype == "f32" else []:
        check(x.transpose(order), x, dtype, target, "transpose")


@pytest.mark.parametrize("target", X86)
def test_single_elements(target: str) -> None:
    x = some((6, 40), "f32")
    check(x[:, ::3], x, "f32", target, "scatter")
    out = np.zeros((6, 80), np.float32)
    (got,) = run(Copy((6, 40), (40, 1), (80, 2)), target, [x], [out])
    np.testing.assert_array_equal(got[:, ::2], x)
    assert not got[:, 1::2].any()


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pad(mode: Any, target: str) -> None:
    for shape, pads in [
        ((3, 5), [(1, 2), (0, 4)]),
        ((2, 1, 17), [(0, 0), (2, 1), (5, 16)]),
        ((2, 3), [(5, 7), (8, 4)]),
    ]:
        for unit in (1, 16):
            x = some((*shape, unit), "f32")
            extra: Any = {"constant_values": 7} if mode == "constant" else {}
            want = np.pad(x, [*pads, (0, 0)], mode, **extra)
            before = tuple(p[0] for p in pads)
            value = np.array([7], np.float32)
            spec = Pad(mode, shape, before, want.shape[:-1], unit)
            (got,) = run(spec, target, [x, value], [np.zeros_like(want)], threads=2)
            np.testing.assert_array_equal(got, want)
            n = len(shape)
            free = [tuple(Param(i * n + j) for j in range(n)) for i in range(3)]
            values = [*shape, *before, *want.shape[:-1], unit]
            late = Pad(mode, free[0], free[1], free[2], Param(3 * n))
            (got,) = run(late, target, [x, value], [np.zeros_like(want)], values)
            np.testing.assert_array_equal(got, want)


def test_negative_pads_crop() -> None:
    x = some((6, 40), "i8")
    want = np.pad(x, [(0, 2), (3, 0)])[2:, :-5]
    spec = Pad("constant", (6, 40), (-2, 3), want.shape, 1, "i8")
    (got,) = run(spec, X86[0], [x, np.zeros(1, np.int8)], [np.ones_like(want)])
    np.testing.assert_array_equal(got, want)
