"""numpy dtypes by the names in plans and manifests; those numpy lacks come from ml_dtypes where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np

_CODES: dict[str, type[np.generic]] = {
    "bfloat16": np.uint16,
    **dict.fromkeys(("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"), np.uint8),
    **dict.fromkeys(("float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"), np.uint8),
    **dict.fromkeys(("int4", "uint4", "int2", "uint2"), np.uint8),
}
"""Types that numpy does not know, and the type of their codes."""


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The dtype of arrays whose elements are `name`.

    For bfloat16, floats of 4 to 8 bits and integers of 2 and 4 bits that is ml_dtypes' type, or without ml_dtypes the
    unsigned integer of the element's size: arrays then hold the elements' codes, one per byte (bfloat16: two bytes),
    narrow integers as two's complement in the low bits. Raises TypeError for a name that is none.
    """
    if name not in _CODES:
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError:
        return np.dtype(_CODES[name])
    known = getattr(ml_dtypes, name, None)  # older versions lack the newest types
    return np.dtype(_CODES[name] if known is None else known)


def is_foreign(dtype: np.dtype[Any]) -> bool:
    """Whether it is a type that numpy does not know."""
    return dtype.name in _CODES


def codes_of(value: Any) -> Any:
    """The codes of an array of such a type; anything else as it is."""
    foreign = isinstance(value, np.ndarray) and is_foreign(value.dtype)
    return value.view(_CODES[value.dtype.name]) if foreign else value


def from_codes(codes: list[int], name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """The vector of `name` with these codes."""
    return np.array(codes, _CODES[name]).view(numpy_dtype(name))
