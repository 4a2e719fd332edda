"""What a server tells of a model's inputs and outputs."""

from __future__ import annotations

from typing import Any

from magicmind.dtypes import numpy_dtype
from magicmind.remote.protocol import MalformedError
from magicmind.tensorinfo import TensorInfo


def json_of(info: TensorInfo) -> dict[str, Any]:
    """One of them as JSON values."""
    return {"name": info.name, "dtype": info.dtype.name, "shape": list(info.shape), "kind": info.kind}


def infos_of(items: Any) -> tuple[TensorInfo, ...]:
    """What `describe` says of a model's inputs or outputs. Raises MalformedError."""
    try:
        return tuple(
            TensorInfo(
                str(item["name"]),
                numpy_dtype(item["dtype"]),
                tuple(dim if isinstance(dim, int) else (int(dim[0]), dim[1]) for dim in item["shape"]),
                str(item["kind"]),
            )
            for item in items
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MalformedError(f"no description of tensors: {error}") from error
