"""The one loader of tensors in ONNX files: every encoding, external data included, with every length checked.

External data may lie in the model's folder and below only: a path that is absolute, that contains `..` or that leads
out through a link is refused, because a model file comes from strangers.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import onnx
import onnx_ir
from onnx import numpy_helper

from magicmind.errors import ModelFormatError

Array: TypeAlias = np.ndarray[Any, Any]

_T = onnx.TensorProto
_MAX_BYTES = 1 << 40

# dtype -> (element on disk, the typed field that may hold it, the dtype of that field's entries as stored)
_PLAIN: dict[int, tuple[np.dtype[Any], str]] = {
    _T.FLOAT: (np.dtype("<f4"), "float_data"),
    _T.DOUBLE: (np.dtype("<f8"), "double_data"),
    _T.INT64: (np.dtype("<i8"), "int64_data"),
    _T.INT32: (np.dtype("<i4"), "int32_data"),
    _T.INT16: (np.dtype("<i2"), "int32_data"),
    _T.INT8: (np.dtype("i1"), "int32_data"),
    _T.UINT16: (np.dtype("<u2"), "int32_data"),
    _T.UINT8: (np.dtype("u1"), "int32_data"),
    _T.BOOL: (np.dtype("?"), "int32_data"),
    _T.UINT32: (np.dtype("<u4"), "uint64_data"),
    _T.UINT64: (np.dtype("<u8"), "uint64_data"),
    _T.COMPLEX64: (np.dtype("<c8"), "float_data"),
    _T.COMPLEX128: (np.dtype("<c16"), "double_data"),
}
_BITS: dict[int, np.dtype[Any]] = {  # 16-bit floats: typed fields hold their bit patterns
    _T.FLOAT16: np.dtype("<f2"),
    _T.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}


def load_tensor(proto: onnx.TensorProto, folder: Path | None) -> onnx_ir.Tensor[Array] | onnx_ir.StringTensor:
    """The tensor, read-only, sharing memory with the file's bytes where it can.

    `folder` is where external data may lie; None when the model came as bytes.
    Raises ModelFormatError for a length, shape, dtype or path that is not right.
    """
    where = f"tensor {proto.name!r}"
    shape = tuple(proto.dims)
    if any(d < 0 for d in shape):
        raise ModelFormatError(f"{where} has the shape {list(shape)}")
    if proto.data_type == _T.STRING:
        return _load_strings(proto, shape, where)
    external = proto.data_location == _T.EXTERNAL
    raw = _external_bytes(proto, folder, where) if external else proto.raw_data if proto.HasField("raw_data") else None
    array = _decode(proto, raw, shape, where)
    array.flags.writeable = False
    return onnx_ir.Tensor(array, dtype=onnx_ir.DataType(proto.data_type), name=proto.name or None)


def load_sparse(proto: onnx.SparseTensorProto, folder: Path | None) -> onnx_ir.Tensor[Array]:
    """The tensor written out, zeros between its values; its name is that of the values.

    The indices are flat ones, or a row of one per dim.  Raises ModelFormatError as `load_tensor`, and for indices
    outside the shape.
    """
    where = f"sparse tensor {proto.values.name!r}"
    shape, values = tuple(proto.dims), load_tensor(proto.values, folder)
    if not isinstance(values, onnx_ir.Tensor) or any(d < 0 for d in shape) or math.prod(shape) * 16 > _MAX_BYTES:
        raise ModelFormatError(f"{where} of {proto.values.data_type} has the shape {list(shape)}")
    places = load_tensor(proto.indices, folder)
    if not isinstance(places, onnx_ir.Tensor) or places.dtype != onnx_ir.DataType.INT64:
        raise ModelFormatError(f"{where}: its indices are {places.dtype}; INT64 is expected")
    indices = places.numpy()
    if indices.ndim == 2 and indices.shape[1] == len(shape):
        inside = ((indices >= 0) & (indices < np.array(shape))).all()
        flat = np.ravel_multi_index(tuple(indices.T), shape) if inside and len(indices) else indices[:, 0]
    else:
        flat, inside = indices, ((indices >= 0) & (indices < math.prod(shape))).all()
    if flat.shape != values.numpy().shape or not inside:
        raise ModelFormatError(f"{where}: its indices do not fit its values or its shape {list(shape)}")
    array = np.zeros(shape, values.numpy().dtype)
    array.reshape(-1)[flat] = values.numpy()
    return onnx_ir.Tensor(array, dtype=values.dtype, name=proto.values.name)


def _load_strings(proto: onnx.TensorProto, shape: tuple[int, ...], where: str) -> onnx_ir.StringTensor:
    if len(proto.string_data) != math.prod(shape):
        raise ModelFormatError(f"{where} holds {len(proto.string_data)} strings, its shape is {list(shape)}")
    return onnx_ir.StringTensor(proto.string_data, shape=onnx_ir.Shape(shape), name=proto.name or None)


def _decode(proto: onnx.TensorProto, raw: bytes | None, shape: tuple[int, ...], where: str) -> Array:
    code = proto.data_type
    if code in _PLAIN:
        dtype, field = _PLAIN[code]
    elif code in _BITS:
        dtype, field = _BITS[code], "int32_data"
    else:
        return _decode_packed(proto, raw, where)
    count = math.prod(shape)
    if raw is not None:
        _check(len(raw), count * dtype.itemsize, "bytes", shape, where)
        return np.frombuffer(raw, dtype).reshape(shape)
    entries = getattr(proto, field)
    _check(len(entries), count * (2 if dtype.kind == "c" else 1), f"entries in {field}", shape, where)
    if dtype.kind == "c":
        return np.array(entries, "<f4" if dtype.itemsize == 8 else "<f8").view(dtype).reshape(shape)
    if code in _BITS:
        return np.array(entries, np.int32).astype(np.uint16).view(dtype).reshape(shape)
    return np.array(entries, np.int64 if field == "int32_data" else None).astype(dtype).reshape(shape)


def _check(found: int, needed: int, unit: str, shape: tuple[int, ...], where: str) -> None:
    if found != needed:
        raise ModelFormatError(
            f"{where} holds {found} {unit}, its shape {list(shape)} needs {needed}",
            hint="the file is damaged, or its external data is missing",
        )


def _decode_packed(proto: onnx.TensorProto, raw: bytes | None, where: str) -> Array:
    """Small floats and sub-byte integers, which onnx's own helper unpacks; the number of bytes is checked here."""
    try:
        name = _T.DataType.Name(proto.data_type)
        bits = onnx_ir.DataType(proto.data_type).bitwidth
    except (ValueError, TypeError):
        raise ModelFormatError(f"{where} has the unknown data type {proto.data_type}") from None
    shape = tuple(proto.dims)
    needed = (math.prod(shape) * bits + 7) // 8
    if raw is None:
        _check(len(proto.int32_data), needed, f"entries in int32_data ({name})", shape, where)
        return np.array(numpy_helper.to_array(proto))
    _check(len(raw), needed, f"bytes of {name}", shape, where)
    bare = _T(data_type=proto.data_type, dims=proto.dims, raw_data=raw)
    return np.array(numpy_helper.to_array(bare))


# --------------------------------------------------------------------------------------------------- external data


def _external_bytes(proto: onnx.TensorProto, folder: Path | None, where: str) -> bytes:
    if folder is None:
        raise ModelFormatError(f"{where} lies in another file", hint="give the model's path rather than its bytes")
    entries = {e.key: e.value for e in proto.external_data}
    path = _inside(folder, entries.get("location", ""), where)
    size = path.stat().st_size
    offset = _number(entries, "offset", 0, where)
    length = _number(entries, "length", max(size - offset, 0), where)
    if offset + length > size:
        raise ModelFormatError(f"{where} needs bytes {offset} to {offset + length} of {path}, which has {size}")
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _number(entries: dict[str, str], key: str, default: int, where: str) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or int(text) > _MAX_BYTES:
        raise ModelFormatError(f"{where}: external data has {key} {text!r}")
    return int(text)


def _inside(folder: Path, location: str, where: str) -> Path:
    """The file `location` names in `folder`.  Raises ModelFormatError unless it really lies there."""
    parts = location.replace("\\", "/").split("/")
    if not location or location.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in location:
        raise ModelFormatError(
            f"{where}: external data at {location!r} is not allowed",
            hint="the path must be relative, without '..', to a file in the model's folder",
        )
    path = folder / Path(*parts)
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ModelFormatError(f"{where}: external data {path} cannot be read: {error}") from None
    if not real.is_relative_to(folder.resolve()):
        raise ModelFormatError(f"{where}: external data {location!r} is a link out of the model's folder")
    if not real.is_file() or not os.access(real, os.R_OK):
        raise ModelFormatError(f"{where}: external data {path} is no readable file")
    return real
