"""numpy dtypes and DataType; what has no counterpart gives None, and the reason in the log, as calls of this API do."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from magicmind.facade import enums
from magicmind.facade.enums import DataType
from magicmind.facade.status import LOG


def get_datatype_by_numpy(dtype: npt.DTypeLike) -> DataType | None:
    """The DataType of arrays of this dtype, or of numbers of a scalar type."""
    try:
        return enums.get_datatype_by_numpy(dtype)
    except Exception as error:  # numpy raises what it likes for what is no dtype
        LOG.error("get_datatype_by_numpy: %s", error)
        return None


def get_numpy_dtype_by_datatype(data_type: DataType) -> np.dtype[Any] | None:
    """The dtype of numpy arrays of this type."""
    try:
        return enums.get_numpy_dtype_by_datatype(data_type)
    except TypeError as error:
        LOG.error("get_numpy_dtype_by_datatype: %s", error)
        return None


__all__ = ["get_datatype_by_numpy", "get_numpy_dtype_by_datatype"]
