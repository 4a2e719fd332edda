"""Layout conversions: exact, with zeroed pad lanes, for every size around the tile."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.codegen.builder import Param
from magicmind.kernels.jit_testing import X86, run
from magicmind.kernels.reorder import Reorder

DTYPES = {"f32": np.float32, "i8": np.int8, "f16": np.float16, "f64": np.float64}


def blocked_of(x: np.ndarray) -> np.ndarray:
    """[N, C, P] -> [N, ceil(C/16), P, 16], pad lanes zero."""
    n, c, p = x.shape
    blocks = -(-c // 16)
    padded = np.zeros((n, blocks * 16, p), x.dtype)
    padded[:, :c] = x
    return np.ascontiguousarray(padded.reshape(n, blocks, 16, p).swapaxes(2, 3))


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_ways(dtype: str, target: str) -> None:
    rng = np.random.default_rng(3)
    shapes = [(2, 1, 1), (1, 3, 49), (1, 16, 16), (2, 17, 15), (1, 32, 33), (1, 31, 300), (0, 16, 4), (1, 5, 0)]
    for shape in shapes if target == "x86-64-v4" else shapes[1:6]:
        x = rng.integers(-99, 99, shape).astype(DTYPES[dtype])
        want = blocked_of(x)
        (blocked,) = run(Reorder(True, *shape, dtype), target, [x], [np.full_like(want, 7)])
        np.testing.assert_array_equal(blocked, want)
        want[want == 0] = 55
        (plain,) = run(Reorder(False, *shape, dtype), target, [blocked_of(x)], [np.full_like(x, 7)])
        np.testing.assert_array_equal(plain, x)


@pytest.mark.parametrize("target", X86)
def test_run_time_sizes(target: str) -> None:
    rng = np.random.default_rng(3)
    for shape in [(2, 16, 17), (3, 37, 83), (1, 64, 511)]:
        x = rng.standard_normal(shape).astype(np.float32)
        want = blocked_of(x)
        sizes = (Param(0), Param(1), Param(2))
        (blocked,) = run(Reorder(True, *sizes), target, [x], [np.full_like(want, 7)], shape, threads=3)
        np.testing.assert_array_equal(blocked, want)
        (plain,) = run(Reorder(False, *sizes), target, [want], [np.full_like(x, 7)], shape, threads=3)
        np.testing.assert_array_equal(plain, x)
