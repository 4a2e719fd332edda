"""A caffemodel as arrays by layer name, from its binary or its text form.

A binary file costs its size once in protobuf's memory and once as arrays; nothing is converted number by number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError

from magicmind.errors import ModelFormatError
from magicmind.frontends.caffe import schema
from magicmind.frontends.caffe.prototxt import parse_net
from magicmind.frontends.caffe.upgrade import upgraded

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Blob:
    """Flat numbers and their shape. `legacy`: the file has the four sizes of the old format, padded with ones."""

    data: Array
    shape: tuple[int, ...]
    legacy: bool

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether this blob is a tensor of that shape; leading ones do not count."""
        if self.data.size != math.prod(shape):
            return False
        mine, wanted = _without_ones(self.shape), _without_ones(shape)
        # C3D's blobs have a length beside the four sizes, in a field of their own.
        return mine == wanted or (self.legacy and len(shape) == 5 and self.shape == (*shape[:2], *shape[3:]))


class BlobSource(Protocol):
    """Where layers get their parameters from."""

    def count(self, layer: Any) -> int:
        """How many blobs the layer has."""

    def shape(self, layer: Any, index: int) -> tuple[int, ...]:
        """The shape of blob `index`, which the layer has."""

    def get(self, layer: Any, index: int, shape: Sequence[int], role: str) -> Array:
        """Blob `index` of a layer, in `shape`; `role` says what it is, for messages.  Raises ModelFormatError."""


class Weights:
    """The blobs of a caffemodel; layers that share parameters by name take the first one's."""

    def __init__(self, blobs: Mapping[str, Sequence[Blob]], where: str) -> None:
        self._blobs = blobs
        self._where = where
        self._shared: dict[str, Blob] = {}  # by the name of a parameter

    def count(self, layer: Any) -> int:
        own = len(self._blobs.get(layer.name, ()))
        named = [spec.name in self._shared for spec in layer.param]
        return max(own, named.index(False) if False in named else len(named))

    def shape(self, layer: Any, index: int) -> tuple[int, ...]:
        blob = self._find(layer, index)
        assert blob is not None, "only what count counts is asked for"
        return blob.shape

    def _find(self, layer: Any, index: int) -> Blob | None:
        """The layer's own blob, or the one it shares."""
        name = layer.param[index].name if index < len(layer.param) else ""
        own = self._blobs.get(layer.name, ())
        return own[index] if index < len(own) else self._shared.get(name) if name else None

    def get(self, layer: Any, index: int, shape: Sequence[int], role: str) -> Array:
        name = layer.param[index].name if index < len(layer.param) else ""
        blob = self._find(layer, index)
        if blob is None:
            raise ModelFormatError(self._missing(layer, index, shape, role), hint=self._hint())
        if name:
            self._shared.setdefault(name, blob)
        if not blob.fits(shape):
            raise ModelFormatError(
                f"layer {layer.name!r} ({layer.type}): blob {index} ({role}) has shape {_text(blob.shape)} in "
                f"{self._where}; the prototxt asks for {_text(shape)}",
                hint="this caffemodel belongs to another version of the network",
            )
        return blob.data.reshape(tuple(shape))

    def _missing(self, layer: Any, index: int, shape: Sequence[int], role: str) -> str:
        have = len(self._blobs.get(layer.name, ()))
        found = f"{have} blobs there" if have else "no blobs there"
        return (
            f"layer {layer.name!r} ({layer.type}) asks for blob {index} ({role}, {_text(shape)}) in {self._where}, "
            f"but has {found}"
        )

    def _hint(self) -> str:
        names = [name for name, blobs in self._blobs.items() if blobs]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return f"layers with weights in the file: {', '.join(names[:8]) or 'none'}{more}"


def read_weights(path: Path) -> Weights:
    """The blobs in a caffemodel, binary or text.  Raises ModelFormatError."""
    where = str(path)
    # Read again each time rather than kept: the file must not lie in memory beside what is made of it.
    if _is_text(_bytes_of(path)):
        layers = upgraded(parse_net(_bytes_of(path).decode(), where))
        return _collect(((layer.name, layer.blobs) for layer in layers), where)
    try:
        return _collect(_binary_layers(_decode(schema.WeightsNet, _bytes_of(path), where)), where)
    except _NotPacked:
        return _collect(_binary_layers(_decode(schema.UnpackedNet, _bytes_of(path), where)), where)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror or error}") from error


class _NotPacked(Exception):
    """A blob whose numbers are not in one piece."""


def _decode(kind: Any, data: bytes, where: str) -> Any:
    try:
        net = kind.FromString(data)
    except DecodeError as error:
        raise ModelFormatError(
            f"{where} is no caffemodel, or is cut off: {error}", hint="download or copy the file again"
        ) from error
    if not net.layer and not net.layers:
        raise ModelFormatError(f"{where} ({len(data)} bytes) holds no layers: it is no caffemodel")
    return net


def _is_text(data: bytes) -> bool:
    """Binary files have control characters (lengths, tags) in their first bytes."""
    head = data[: 1 << 16]
    return bool(head.strip()) and all(byte >= 32 or byte in b"\t\n\r" for byte in head) and head.isascii()


def _binary_layers(net: Any) -> Iterable[tuple[str, Sequence[Any]]]:
    for layer in net.layer:
        yield layer.name, layer.blobs
    for old in net.layers:
        inner = old.layer if old.HasField("layer") else old
        yield inner.name or old.name, inner.blobs or old.blobs


def _collect(layers: Iterable[tuple[str, Sequence[Any]]], where: str) -> Weights:
    """The first layer of a name that has blobs counts, as in Caffe."""
    found: dict[str, list[Blob]] = {}
    for name, blobs in layers:
        if not found.get(name):
            found[name] = [_blob(blob, f"{where}: layer {name!r}, blob {i}") for i, blob in enumerate(blobs)]
    return Weights(found, where)


def _blob(blob: Any, where: str) -> Blob:
    legacy = not blob.HasField("shape")
    shape = (blob.num, blob.channels, blob.height, blob.width) if legacy else tuple(blob.shape.dim)
    try:
        data = _numbers(blob.data, np.float32)
        if not data.size and blob.double_data:
            data = _numbers(blob.double_data, np.float64).astype(np.float32)
    except ValueError as error:
        raise ModelFormatError(f"{where} is no list of numbers: {error}", hint="the file is damaged") from error
    if not data.size and math.prod(shape) > 0 and blob.DESCRIPTOR.fields_by_name["data"].type == _BYTES:
        raise _NotPacked
    if min(shape, default=1) < 0 or data.size != (math.prod(shape) if not legacy else max(data.size, 1)):
        raise ModelFormatError(f"{where} has {data.size} numbers for shape {_text(shape)}", hint="the file is damaged")
    return Blob(data, shape, legacy)


_BYTES = 12  # the protobuf type of a field that holds bytes


def _numbers(field: Any, dtype: Any) -> Array:
    """A repeated field of numbers, or of pieces of packed ones."""
    if len(field) and isinstance(field[0], bytes):
        pieces = [np.frombuffer(piece, np.dtype(dtype).newbyteorder("<")) for piece in field]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return np.fromiter(field, dtype, len(field))


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    first = next((i for i, size in enumerate(shape) if size != 1), len(shape))
    return tuple(shape[first:])


def _text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
