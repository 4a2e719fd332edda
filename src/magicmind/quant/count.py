"""Statistics of arrays by compiled kernels: numpy passes ten times over the gigabytes that a calibration reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from magicmind.codegen.builder import Param
from magicmind.kernels.histogram import SPARE, RowHistogram
from magicmind.kernels.reduce import Reduce
from magicmind.lower.native import run_natively

Array = np.ndarray[Any, np.dtype[Any]]


def reduced(op: str, x: Array, axis: int | None = None) -> Array:
    """Min, Max, Sum or SumSquare of float32 numbers for every index of an axis, or of all of them; float64."""
    outer, size, inner = _around(x, axis)
    by_column = inner == 1 and size > 1
    sizes, marks = ((outer, size), (True, False)) if by_column else ((outer, size, inner), (True, False, True))
    out = np.empty(size, np.float32)
    spec = Reduce(op, "f32", tuple(map(Param, range(len(sizes)))), marks)
    run_natively(spec, [np.ascontiguousarray(x), out], sizes)
    return out.astype(np.float64)


def ends(x: Array, axis: int | None = None) -> tuple[Array, Array]:
    """The smallest and the largest number, for every index of an axis or of all.

    Raises ValueError for NaN and infinity.
    """
    low, high = reduced("Min", x, axis), reduced("Max", x, axis)
    if not np.isfinite([low, high]).all():
        raise ValueError("NaN" if np.isnan([low, high]).any() else "infinity")
    return low, high


def magnitude(x: Array, *, infinity: bool = False) -> float:
    """The largest magnitude; 0 of none. Raises ValueError for NaN, and for infinity unless it is to be left out."""
    if x.size == 0:
        return 0.0
    try:
        (low,), (high,) = ends(x)
    except ValueError:
        finite = x[~np.isinf(x)]
        if not infinity or finite.size == x.size:
            raise
        return magnitude(finite)
    return float(max(-low, high))


def no_counts(rows: int, half: int) -> Array:
    """What `count` adds to: int64 [rows, 2 * half], and numbers after each row that mean nothing."""
    return np.zeros((rows, 2 * half + SPARE), np.int64)


def count(x: Array, widths: Array, counts: Array, axis: int | None = None) -> None:
    """Adds the finite float32 numbers other than 0 that lie in bin b of a row, from b to b + 1 times the row's width, b
    from -half to half - 1, the first and the last bin holding what lies beyond.

    A row is an index of the axis, or all numbers.
    """
    spec = RowHistogram((counts.shape[1] - SPARE) // 2, Param(0), Param(1), Param(2))
    run_natively(spec, [np.ascontiguousarray(x), (1.0 / widths).astype(np.float32), counts], _around(x, axis))


def _around(x: Array, axis: int | None) -> tuple[int, int, int]:
    """Sizes before, of, and after the axis; all numbers are one row."""
    if axis is None:
        return 1, 1, x.size
    return math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
