"""Histograms of rows against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.codegen.builder import Param
from magicmind.kernels.histogram import RowHistogram
from magicmind.kernels.jit_testing import X86, run

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("target", X86)
@pytest.mark.parametrize(("outer", "rows", "length"), [(1, 1, 1000), (3, 5, 37), (2, 3, 1), (1, 4, 0)])
def test_counts_are_those_of_numpy(target: str, outer: int, rows: int, length: int) -> None:
    half = 8
    x = RNG.standard_normal((outer, rows, length)).astype(np.float32)
    x[x > 1] = 0
    widths = 2.0 ** np.arange(-2, rows - 2).astype(np.float32)
    before = RNG.integers(0, 5, (rows, 2 * half)).astype(np.int64)
    wanted = before.copy()
    edges = np.arange(1 - half, half)
    for row, width in enumerate(widths):
        values = x[:, row][x[:, row] != 0]
        wanted[row] += np.bincount(np.digitize(values / width, edges), minlength=2 * half)
    for spec, sizes in [
        (RowHistogram(half, Param(0), Param(1), Param(2)), (outer, rows, length)),
        (RowHistogram(half, outer, rows, Param(0)), (length,)),
    ]:
        counts = np.zeros((rows, spec.bins), np.int64)
        counts[:, : 2 * half] = before
        (found,) = run(spec, target, [x, 1 / widths], [counts], sizes, threads=2)
        np.testing.assert_array_equal(found[:, : 2 * half], wanted)
