"""DataType and the types of the unified graph."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

from magicmind.facade.enums import DataType
from magicmind.facade.status import Refused
from magicmind.ir.dims import symbol
from magicmind.ir.types import TensorType

_OTHER = {"FLOAT": DataType.FLOAT32, "DOUBLE": DataType.FLOAT64}


def data_type(dtype: onnx_ir.DataType) -> DataType:
    """The DataType of a type of the graph; the nearest where the API has none."""
    found = _OTHER.get(dtype.name)
    return found if found is not None else DataType.__members__.get(dtype.name, DataType.FLOAT32)


def graph_type(found: DataType) -> onnx_ir.DataType:
    """The type in the graph.  Raises Refused for what is none of tensors."""
    name = {"FLOAT32": "FLOAT", "FLOAT64": "DOUBLE"}.get(found.value, found.value.removeprefix("Q"))
    if name not in onnx_ir.DataType.__members__:
        raise Refused(f"{found} is no type of tensors")
    return onnx_ir.DataType[name]


def tensor_type(dtype: DataType, dims: Sequence[int] | None) -> TensorType:
    """The type of an input; sizes that are open are symbols."""
    shape = None if dims is None else tuple(d if d >= 0 else symbol(f"d{i}") for i, d in enumerate(dims))
    return TensorType(graph_type(dtype), shape)
