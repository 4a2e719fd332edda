"""Dumps: tensors of every run as files, outputs and those inside the network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magicmind.facade.status import Code, Refused
from magicmind.facade.tensor import Array
from magicmind.runtime.context import Context as CoreContext
from magicmind.runtime.dump import file_name
from magicmind.runtime.watched import InnerTensor

if TYPE_CHECKING:
    from magicmind.remote.models import RemoteEngine


class DumpMode(Enum):
    """Which tensors are written."""

    kNone = -1
    kSpecifiedTensors = 0
    kAllTensors = 1
    kOutputTensors = 2


class FileFormat(Enum):
    """How they are written: as ONNX's TensorProto, as its text, or as bytes alone."""

    kProtobuf = 0
    kProtobufText = 1
    kBinary = 2


class ContextDumpInfo:
    """Where `Context.enqueue` writes tensors to; `val` has the same fields, as programs set them."""

    def __init__(
        self,
        path: str | os.PathLike[str] = "",
        tensor_name: Iterable[str] = (),
        dump_mode: DumpMode | int = DumpMode.kOutputTensors,
        file_format: FileFormat | int = FileFormat.kBinary,
    ) -> None:
        self.path, self.tensor_name = path, tensor_name
        self.dump_mode, self.file_format = dump_mode, file_format

    @property
    def val(self) -> ContextDumpInfo:
        """Itself."""
        return self


def _bytes(_: str, array: Array) -> bytes:
    return array.tobytes()


def _proto(name: str, array: Array) -> Any:
    """Raises Refused without the package onnx."""
    try:
        from onnx import numpy_helper
    except ImportError as error:
        raise Refused(
            "a TensorProto needs the package onnx", Code.UNAVAILABLE, hint="pip install 'magicmind[build]', or kBinary"
        ) from error
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


_WRITERS: Mapping[FileFormat, Callable[[str, Array], bytes]] = {
    FileFormat.kBinary: _bytes,
    FileFormat.kProtobuf: lambda name, array: bytes(_proto(name, array).SerializeToString()),
    FileFormat.kProtobufText: lambda name, array: str(_proto(name, array)).encode(),
}


class Dump:
    """Files `<tensor>.<run>`, in row-major order. Inner tensors bear the names that ITensor tells."""

    def __init__(self, info: Any) -> None:
        """Raises Refused for what is no such information."""
        if not isinstance(info, ContextDumpInfo):
            raise Refused(f"set_context_dump_info takes a Context.ContextDumpInfo, not {type(info).__name__}")
        try:
            self._mode, self._write_as = DumpMode(info.dump_mode), _WRITERS[FileFormat(info.file_format)]
        except ValueError as error:
            raise Refused(str(error)) from None
        self._names = [str(name) for name in info.tensor_name] if self._mode is DumpMode.kSpecifiedTensors else []
        self._folder = Path(info.path)
        self._runs = 0

    def run(
        self, context: CoreContext | RemoteEngine, feeds: Mapping[str, Array], outputs: Iterable[str]
    ) -> dict[str, Array]:
        """Runs and writes; on one thread where tensors inside are wanted.  Raises Error for unknown ones, OSError."""
        if self._mode is DumpMode.kNone:
            return context.run(feeds)
        self._folder.mkdir(parents=True, exist_ok=True)
        own = set(outputs)
        inner = [name for name in self._names if name not in own]

        def take(tensor: InnerTensor, array: Array) -> None:
            if tensor.name not in own:
                self._write(tensor.name, array)

        if self._mode is DumpMode.kAllTensors or inner:
            if not isinstance(context, CoreContext):
                raise Refused("a server does not tell what lies inside a network", Code.UNAVAILABLE)
            results = context.watch(feeds, take, inner if self._mode is DumpMode.kSpecifiedTensors else None)
        else:
            results = context.run(feeds)
        for name, array in results.items():
            if self._mode is not DumpMode.kSpecifiedTensors or name in self._names:
                self._write(name, array)
        self._runs += 1
        return results

    def _write(self, name: str, array: Array) -> None:
        (self._folder / f"{file_name(name)}.{self._runs}").write_bytes(self._write_as(name, array))
