"""Offline models on a remote server, with the interface of `runtime`: model, engine, context. numpy and gRPC only.

A model is sent once: the server keeps it under its SHA-256, for all clients, until it needs the room. Each call carries
its inputs and brings its outputs back.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Mapping
from itertools import chain

import numpy as np

from magicmind.errors import Error, OfflineModelError, RemoteError, ShapeError
from magicmind.remote import protocol
from magicmind.remote.connection import Connection
from magicmind.remote.description import infos_of
from magicmind.remote.protocol import Array, Frame, MalformedError
from magicmind.tensorinfo import TensorInfo


class RemoteModel:
    """A model on a server. Calls may come from many threads."""

    def __init__(self, address: str, source: str | os.PathLike[str] | bytes) -> None:
        """Sends the file, or its bytes, unless the server has it. Raises RemoteError, and OfflineModelError as
        `magicmind.load`."""
        self._data = memoryview(source) if isinstance(source, bytes) else _mapped(os.fspath(source))
        self._digest = hashlib.sha256(self._data).hexdigest()
        self._connection = Connection(address)
        try:
            described = self._described()
            self.target = described.text("target")
            self.inputs: tuple[TensorInfo, ...] = infos_of(described.header.get("inputs"))
            self.outputs: tuple[TensorInfo, ...] = infos_of(described.header.get("outputs"))
        except MalformedError as error:
            self.close()
            raise self._connection.misunderstood(error) from error
        except BaseException:
            self.close()
            raise

    def _described(self) -> Frame:
        try:
            return self._connection.call(protocol.DESCRIBE, protocol.encode({"model": self._digest}))
        except RemoteError as error:
            if error.code != "NOT_FOUND":
                raise
        head = protocol.encode({"model": self._digest, "bytes": len(self._data)})
        return self._connection.converse(protocol.UPLOAD, chain([head], protocol.pieces(self._data)), lambda _: None)

    def run(self, feeds: Mapping[str, Array], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Outputs by name: fresh arrays, or those given in `out`. Raises as `Session.run`, and RemoteError."""
        if not isinstance(feeds, Mapping):
            raise ShapeError(f"inputs are given by name, not as {type(feeds).__name__}")
        request = protocol.encode({"model": self._digest}, feeds)
        try:
            frame = self._connection.call(protocol.RUN, request)
        except RemoteError as error:
            if error.code != "NOT_FOUND":
                raise
            self._described()  # another model took its place, or the server was started anew
            frame = self._connection.call(protocol.RUN, request)
        missing = [info.name for info in self.outputs if info.name not in frame.tensors]
        if missing:
            raise self._connection.misunderstood(f"output {missing[0]!r} is missing")
        return {info.name: _taken(info.name, frame.tensors[info.name], out) for info in self.outputs}

    def engine(self, threads: int | None = None) -> RemoteEngine:
        """As of a model that runs here. How many threads a call has is the server's choice."""
        return RemoteEngine(self)

    def close(self) -> None:
        """Ends the connection; the server keeps the model."""
        self._connection.close()

    def __enter__(self) -> RemoteModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RemoteEngine:
    """An engine or a context of a remote model: both are the model's connection."""

    def __init__(self, model: RemoteModel) -> None:
        self.model = model

    def context(self) -> RemoteEngine:
        """What `run` is called on."""
        return self

    def run(self, feeds: Mapping[str, Array], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """As `RemoteModel.run`."""
        return self.model.run(feeds, out)

    def __enter__(self) -> RemoteEngine:
        return self

    def __exit__(self, *_: object) -> None:
        """The model is what is closed."""


def _mapped(path: str) -> memoryview:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not 0 < size <= protocol.MAX_FILE:
                raise OfflineModelError(f"{path}: {size} bytes; a server takes 1 to {protocol.MAX_FILE}")
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
    except OSError as error:
        raise OfflineModelError(f"cannot open {path}: {error.strerror}", hint="check the path") from error


def _taken(name: str, array: Array, out: Mapping[str, Array] | None) -> Array:
    """The received array where the caller wants it; received bytes cannot be written to."""
    if out is None or name not in out:
        return array.copy()
    place = out[name]
    if not isinstance(place, np.ndarray):
        raise Error(f"out[{name!r}] is a {type(place).__name__}, expected a numpy array")
    if place.dtype != array.dtype or place.shape != array.shape:
        found = f"{place.dtype}{list(place.shape)}"
        raise ShapeError(f"out[{name!r}]: {found}, expected {array.dtype}{list(array.shape)}")
    np.copyto(place, array)
    return place
