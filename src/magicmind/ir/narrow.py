"""Element types of fewer than 8 bits and 8-bit floats: which they are, and the reference for casts to them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from onnx_ir import DataType

NARROW = frozenset(t for t in DataType if re.fullmatch(r"U?INT[24]|FLOAT[468]E\w+", t.name))
"""Types that are stored one element per byte and only moved and cast; operators compute in others."""


def cast_narrow(x: Any, to: DataType, saturate: bool = True, round_mode: str = "up") -> Any:
    """numpy: `x` as the narrow type `to`, by the tables of ONNX's Cast-24.

    `saturate` is for floats, `round_mode` (up, down, nearest) for FLOAT8E8M0 alone. Integers wrap; floats are cut to
    integers first.
    """
    array, dtype = np.asarray(x), to.numpy()
    with np.errstate(all="ignore"):
        if not to.is_floating_point():
            whole = array.astype(np.float64).astype(np.int64) if _is_float(array) else array
            return whole.astype(np.int64).astype(np.uint8).view(np.int8).astype(dtype)
        numbers = array.astype(np.float64)
        if to == DataType.FLOAT8E8M0:
            return _powers(numbers, saturate, round_mode).astype(np.uint8).view(dtype)
        largest = float(_all_values(to).max())
        if "NUZ" not in to.name and not to.name.startswith("FLOAT8"):
            numbers = np.where(np.isnan(numbers), 0.0, numbers)  # no code for NaN
            saturate = True
        return _to_odd(np.clip(numbers, -largest, largest) if saturate else numbers).astype(dtype)


def _is_float(array: Any) -> bool:
    return DataType.from_numpy(array.dtype).is_floating_point()


def _to_odd(x: Any) -> Any:
    """float32, inexact results with their last bit set: ml_dtypes goes by way of float32, which would round twice."""
    nearest = x.astype(np.float32)
    bits = nearest.view(np.uint32) - (np.abs(nearest.astype(np.float64)) > np.abs(x)).astype(np.uint32)
    inexact = (nearest != x) & ~np.isnan(x)
    return (bits | inexact.astype(np.uint32)).astype(np.uint32).view(np.float32)


def _all_values(to: DataType) -> Any:
    """The finite numbers of a type."""
    found = np.arange(1 << to.bitwidth, dtype=np.uint8).view(to.numpy()).astype(np.float64)
    return found[np.isfinite(found)]


def _powers(x: Any, saturate: bool, round_mode: str) -> Any:
    """Codes of 2^(code - 127)."""
    fraction, exponent = np.frexp(x)  # x = fraction * 2^exponent, 0.5 <= fraction < 1
    rounds_up = {"up": fraction > 0.5, "down": fraction > 1, "nearest": fraction >= 0.75}[round_mode]
    code = exponent.astype(np.int64) - 1 + rounds_up + 127
    code = np.where(x == 0, -1, np.where(x == np.inf, 255, code))
    code = np.clip(code, 0, 254) if saturate else np.where(x < 2.0**-127, 255, np.minimum(code, 255))
    return np.where(np.isnan(x) | (x < 0), 255, code)
