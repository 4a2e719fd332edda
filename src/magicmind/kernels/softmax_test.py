"""Softmax and its kin against numpy in float64, on every target this CPU runs, with guarded memory."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.codegen.builder import Param, Size
from magicmind.kernels.softmax import Softmax
from magicmind.testing.run_kernel import run_kernel
from magicmind.testing.targets import KERNEL_TARGETS

DTYPES = {"f4": "f32", "f8": "f64", "f2": "f16"}


def reference(op: str, x: np.ndarray) -> np.ndarray:
    wide = x.astype("f8")
    if op == "hard":
        return np.asarray(np.arange(x.shape[1])[None, :, None] == x.argmax(1)[:, None, :]) + 0.0
    shifted = wide - wide.max(1, keepdims=True)
    total = np.exp(shifted).sum(1, keepdims=True)
    return np.asarray(shifted - np.log(total) if op == "log" else np.exp(shifted) / total)


def run(
    op: str, x: np.ndarray, target: str, mutable: bool = False, threads: int = 1, in_place: bool = False
) -> np.ndarray:
    sizes: list[Size] = [Param(i) for i in range(3)] if mutable else list(x.shape)
    sizes[2] = 1 if x.shape[2] == 1 else sizes[2]
    source = x.copy()
    out = source if in_place else np.zeros_like(x)
    spec = Softmax(op, DTYPES[x.dtype.str[1:]], *sizes)
    run_kernel(spec, [source, out], x.shape[: 3 if x.shape[2] != 1 else 2] if mutable else (), target, threads)
    return out


@pytest.mark.parametrize("target", KERNEL_TARGETS)
@pytest.mark.parametrize("op", ["softmax", "log", "hard"])
@pytest.mark.parametrize(
    "shape",
    [
        (5, 1000, 1),
        (3, 17, 1),
        (67, 2, 1),
        (9, 4, 1),
        (5, 16, 1),
        (7, 10, 1),
        (4, 1, 1),
        (0, 3, 1),
        (2, 21, 37),
        (1, 3, 1),
    ],
)
def test_softmax(op: str, shape: tuple[int, int, int], target: str) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 5).astype("f4")
    got = run(op, x, target)
    want = reference(op, x) if x.size else x
    np.testing.assert_allclose(got, want, rtol=3e-6, atol=3e-6 if op == "log" else 1e-12)
    np.testing.assert_array_equal(got, run(op, x, target, threads=3))
    np.testing.assert_array_equal(got, run(op, x, target, in_place=True))
    if shape[1] > 16 or shape[2] != 1:  # short rows of constant length have code of their own
        np.testing.assert_array_equal(got, run(op, x, target, mutable=True))


@pytest.mark.parametrize("dtype", ["f8", "f2"])
def test_other_dtypes(dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 50, 1)).astype(dtype)
    for shape in ((3, 50, 1), (1, 3, 50), (15, 10, 1)):
        for op in ("softmax", "log"):
            y = x.reshape(shape)
            want = reference(op, y)
            np.testing.assert_allclose(run(op, y, "native"), want, rtol=1e-13 if dtype == "f8" else 1e-3, atol=1e-14)


def test_large_arguments_do_not_overflow_and_nan_spreads() -> None:
    x = np.array([[1e4, 1e4 - 1, -1e30] * 10, [np.nan, *[1.0] * 29]], "f4").reshape(2, 30, 1)
    got = run("softmax", x, "native")
    np.testing.assert_allclose(got[0], reference("softmax", x[:1])[0], rtol=1e-6)
    assert np.isnan(got[1]).all()
