"""Element types, and the contents of TensorProto messages as numpy arrays."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.tensorflow.schema import DATA_TYPES

Array: TypeAlias = np.ndarray[Any, Any]

_REFERENCE = 100  # added to the number of a type for references to variables
_MAX_ELEMENTS = 1 << 31

_DTYPES = {
    "DT_FLOAT": "FLOAT", "DT_DOUBLE": "DOUBLE", "DT_HALF": "FLOAT16", "DT_BFLOAT16": "BFLOAT16", "DT_BOOL": "BOOL",
    "DT_INT8": "INT8", "DT_INT16": "INT16", "DT_INT32": "INT32", "DT_INT64": "INT64", "DT_UINT8": "UINT8",
    "DT_UINT16": "UINT16", "DT_UINT32": "UINT32", "DT_UINT64": "UINT64", "DT_QINT8": "INT8", "DT_QUINT8": "UINT8",
    "DT_QINT16": "INT16", "DT_QUINT16": "UINT16", "DT_QINT32": "INT32", "DT_STRING": "STRING",
    "DT_COMPLEX64": "COMPLEX64", "DT_COMPLEX128": "COMPLEX128",
}  # fmt: skip

_BY_NUMBER = {DATA_TYPES[name].number: onnx_ir.DataType[label] for name, label in _DTYPES.items()}

_FIELDS = {
    "FLOAT": "float_val", "DOUBLE": "double_val", "BOOL": "bool_val", "STRING": "string_val", "INT64": "int64_val",
    "UINT32": "uint32_val", "UINT64": "uint64_val", "FLOAT16": "half_val", "BFLOAT16": "half_val",
    "COMPLEX64": "scomplex_val", "COMPLEX128": "dcomplex_val",
}  # fmt: skip
"""Where numbers stand that are not packed as bytes; all other types use `int_val`."""


def dtype_of(number: int) -> onnx_ir.DataType:
    """The element type of a number in a file.  Raises UnsupportedOperatorError for those without a meaning here."""
    plain = number - _REFERENCE if number > _REFERENCE else number
    if plain not in _BY_NUMBER:
        names = {v.number: name for name, v in DATA_TYPES.items()}
        raise UnsupportedOperatorError(f"values of type {names.get(plain, plain)} are not supported")
    return _BY_NUMBER[plain]


def shape_of(message: Any) -> tuple[int, ...] | None:
    """The dims of a shape message, -1 where unknown; None where not even the rank is known."""
    return None if message.unknown_rank else tuple(int(d.size) for d in message.dim)


def array_of(message: Any) -> Array:
    """The contents of a tensor; strings as an object array of bytes.  Raises ModelFormatError."""
    dtype, shape = dtype_of(message.dtype), shape_of(message.tensor_shape)
    if shape is None or min(shape, default=0) < 0:
        raise ModelFormatError("the shape of a constant is not known")
    count = 1
    for size in shape:
        count *= size
    if count > _MAX_ELEMENTS:
        raise ModelFormatError(f"a constant has shape {list(shape)}: the file is damaged")
    kind = np.dtype(object) if dtype == onnx_ir.DataType.STRING else dtype.numpy()
    if message.tensor_content and dtype != onnx_ir.DataType.STRING:
        if len(message.tensor_content) != count * kind.itemsize:
            raise ModelFormatError(
                f"a constant of shape {list(shape)} ({kind}) needs {count * kind.itemsize} bytes; "
                f"{len(message.tensor_content)} are there"
            )
        return np.frombuffer(message.tensor_content, kind).reshape(shape)
    return _listed(message, dtype, kind, shape, count)


def _listed(message: Any, dtype: onnx_ir.DataType, kind: Any, shape: tuple[int, ...], count: int) -> Array:
    """Numbers one by one; the last one stands for all that follow, nothing for zeros."""
    field = _FIELDS.get(dtype.name, "int_val")
    numbers = getattr(message, field)
    if field == "half_val":
        found = np.array(numbers, np.uint16).view(kind)
    elif dtype.name.startswith("COMPLEX"):  # real and imaginary parts in turn
        found = np.array(numbers, np.float32 if field == "scomplex_val" else np.float64).view(kind)
    elif dtype == onnx_ir.DataType.STRING:
        found = np.empty(len(numbers), object)
        found[:] = list(numbers)
    else:
        found = np.array(numbers, np.int64 if field == "int_val" else kind).astype(kind)
    if len(found) > count:
        raise ModelFormatError(f"a constant of shape {list(shape)} lists {len(found)} numbers")
    if not len(found):
        found = np.array([b"" if dtype == onnx_ir.DataType.STRING else 0], kind)
    full = np.concatenate([found, np.repeat(found[-1:], count - len(found))]) if len(found) < count else found[:count]
    return full.reshape(shape)
