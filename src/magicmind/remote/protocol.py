"""The bytes that travel: frames of a JSON header and tensors. Every length is checked before anything is made of it.

    4 bytes   length of the header, little-endian
    header    a JSON object in UTF-8, filled up with blanks so that the payload begins at a multiple of 16
    payload   `tensors` of the header one after another, each filled up to a multiple of 16; or a piece of a file

A tensor of the header is {"name", "dtype", "shape"}; its elements follow in C order, little-endian. gRPC carries one
frame as one message of plain bytes: nothing is unpickled, and no type of a frame means code. What a call sends first
besides are the metadata `PROTOCOL_KEY` and, where the server asks for one, the token.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from magicmind.dtypes import is_foreign, numpy_dtype
from magicmind.errors import ShapeError

Array = np.ndarray[Any, np.dtype[Any]]

PROTOCOL = 1
"""Raised with every change of what travels; both sides have to speak the same."""
SERVICE = "magicmind.Remote"
HELLO, DESCRIBE, RUN = "Hello", "Describe", "Run"
"""One frame there, one back."""
UPLOAD, CALIBRATE = "Upload", "Calibrate"
"""Conversations: frames in both directions, until the server sends `done`."""
PROTOCOL_KEY, TOKEN_KEY, ERROR_KEY = "magicmind-protocol", "authorization", "magicmind-error"

MAX_MESSAGE = 256 << 20
"""Bytes of one frame: of the inputs or outputs of one call, or of one sample."""
MAX_HEADER = 1 << 20
MAX_TENSORS = 4096
MAX_RANK = 64
CHUNK = 1 << 20
"""Bytes of a file in one frame."""
MAX_FILE = 4 << 30
"""Bytes of an offline model or of a graph."""

_LENGTH = struct.Struct("<I")
_ALIGNMENT = 16
_DTYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)


class MalformedError(ValueError):
    """A frame that is none."""


@dataclass(frozen=True)
class Frame:
    """One message. `tensors` are views of the received bytes, and cannot be written to."""

    header: Mapping[str, Any]
    payload: memoryview
    tensors: Mapping[str, Array]

    def text(self, key: str) -> str:
        """A text of the header. Raises MalformedError."""
        value = self.header.get(key)
        if not isinstance(value, str):
            raise MalformedError(f"{key} is {value!r:.40}, not a text")
        return value

    def count(self, key: str, most: int) -> int:
        """A number of the header from 0 to `most`. Raises MalformedError."""
        value = self.header.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise MalformedError(f"{key} is {value!r:.40}, not a number from 0 to {most}")
        return value


def encode(header: Mapping[str, Any], tensors: Mapping[str, Any] | None = None) -> bytes:
    """A frame with these tensors. Raises ShapeError for what cannot travel: texts, objects, and too many bytes."""
    parts: list[Any] = []
    specs, size = [], 0
    for name, value in (tensors or {}).items():
        array = np.asarray(value)
        if array.dtype.name not in _DTYPES and not is_foreign(array.dtype):
            raise ShapeError(f"tensor {name!r} has dtype {array.dtype}, which cannot be sent", hint="numbers can")
        specs.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape)})
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)  # joined below, without a copy of its own
        parts += [flat, bytes(-array.nbytes % _ALIGNMENT)]
        size += _aligned(array.nbytes)
    if size > MAX_MESSAGE:
        raise ShapeError(f"{size} bytes of tensors; one message holds {MAX_MESSAGE}", hint="send smaller batches")
    return b"".join([_head({**header, "tensors": specs} if specs else header), *parts])


def encode_piece(header: Mapping[str, Any], piece: bytes | memoryview) -> bytes:
    """A frame with a piece of a file."""
    return b"".join((_head(header), piece))


def pieces(data: bytes | memoryview) -> Iterator[bytes]:
    """A file's frames."""
    view = memoryview(data)
    for first in range(0, len(view), CHUNK):
        yield encode_piece({"kind": "piece"}, view[first : first + CHUNK])


def _head(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(_LENGTH.size + len(text)) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def decode(data: bytes) -> Frame:
    """The frame of a message. Raises MalformedError."""
    if len(data) < _LENGTH.size:
        raise MalformedError(f"{len(data)} bytes are no frame")
    (length,) = _LENGTH.unpack_from(data)
    if length > min(MAX_HEADER, len(data) - _LENGTH.size):
        raise MalformedError(f"a header of {length} bytes in a message of {len(data)}")
    try:
        header = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise MalformedError(f"the header is {type(header).__name__}, not an object")
    payload = memoryview(data)[_LENGTH.size + length :]
    return Frame(header, payload, _tensors(header.get("tensors", []), payload))


def _tensors(specs: Any, payload: memoryview) -> dict[str, Array]:
    if not isinstance(specs, list) or len(specs) > MAX_TENSORS:
        raise MalformedError(f"tensors is no list of at most {MAX_TENSORS}")
    found: dict[str, Array] = {}
    at = 0
    for spec in specs:
        name, dtype, shape = _spec(spec)
        size = dtype.itemsize * prod(shape)
        if size > len(payload) - at:
            raise MalformedError(f"tensor {name!r} needs {size} bytes, {max(len(payload) - at, 0)} are there")
        if name in found:
            raise MalformedError(f"tensor {name!r} is there twice")
        found[name] = np.frombuffer(payload[at : at + size], dtype).reshape(shape)
        at += _aligned(size)
    if specs and at != len(payload):
        raise MalformedError(f"{len(payload)} bytes of tensors, declared are {at}")
    return found


def _spec(spec: Any) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    if not isinstance(spec, dict):
        raise MalformedError(f"{spec!r:.40} describes no tensor")
    name, dtype, shape = spec.get("name"), spec.get("dtype"), spec.get("shape")
    if not isinstance(name, str) or not isinstance(dtype, str) or not isinstance(shape, list) or len(shape) > MAX_RANK:
        raise MalformedError(f"{spec!r:.80} describes no tensor")
    if any(not isinstance(dim, int) or isinstance(dim, bool) or not 0 <= dim < 1 << 48 for dim in shape):
        raise MalformedError(f"tensor {name!r:.40} has shape {shape!r:.80}")
    return name, _dtype(name, dtype), tuple(shape)


def _dtype(tensor: str, name: str) -> np.dtype[Any]:
    try:
        dtype = numpy_dtype(name)
    except TypeError as error:
        raise MalformedError(f"tensor {tensor!r:.40} has dtype {name!r:.40}") from error
    if name not in _DTYPES and not is_foreign(dtype):
        raise MalformedError(f"tensor {tensor!r:.40} has dtype {name!r:.40}")
    return dtype


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
