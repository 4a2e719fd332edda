"""What programs look into a run with: dumps of outputs, times of steps; and the loader of plugins."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from magicmind.facade.status import LOG, Code, Refused, guarded
from magicmind.facade.tensor import Tensor


class DumpMode(Enum):
    """Which tensors are written."""

    kNone = -1
    kSpecifiedTensors = 0
    kAllTensors = 1
    kOutputTensors = 2


class FileFormat(Enum):
    """How they are written; only bytes, without header, are possible here."""

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


class Dump:
    """Outputs as files: `<name>.<run>`, bytes in row-major order."""

    def __init__(self, info: Any) -> None:
        """Raises Refused for what a run cannot write."""
        if not isinstance(info, ContextDumpInfo):
            raise Refused(f"set_context_dump_info takes a Context.ContextDumpInfo, not {type(info).__name__}")
        try:
            mode, how = DumpMode(info.dump_mode), FileFormat(info.file_format)
        except ValueError as error:
            raise Refused(str(error)) from None
        if mode is DumpMode.kAllTensors:
            raise Refused(
                "a run keeps its outputs only", Code.UNIMPLEMENTED, hint="mark_output makes any tensor an output"
            )
        if how is not FileFormat.kBinary and mode is not DumpMode.kNone:
            raise Refused(f"file_format {how.name} is not written: use kBinary", Code.UNIMPLEMENTED)
        self._names = set(info.tensor_name) if mode is DumpMode.kSpecifiedTensors else None
        self._folder = None if mode is DumpMode.kNone else Path(info.path)
        self._runs = 0

    def write(self, outputs: Sequence[Tensor]) -> None:
        """Writes what a run has delivered."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for tensor in outputs:
            if tensor.array is not None and (self._names is None or tensor.name in self._names):
                file = re.sub(r"[^\w.-]", "_", tensor.name)
                (self._folder / f"{file}.{self._runs}").write_bytes(tensor.array.tobytes())
        self._runs += 1


class HostTracerLevel(Enum):
    """Of what a profiler sees of the host; all are the same here."""

    kOff = 0
    kCritical = 1
    kInfo = 2
    kVerbose = 3


class DeviceTracerLevel(Enum):
    """Of what a profiler sees of the device, which is the host here."""

    kOff = 0
    kOn = 1


class ProfilerOptions:
    """The levels; they change nothing: times of steps are what there is."""

    def __init__(
        self,
        host: HostTracerLevel = HostTracerLevel.kCritical,
        device: DeviceTracerLevel = DeviceTracerLevel.kOn,
    ) -> None:
        self.host, self.device = host, device


class Profiler:
    """Times what runs between `step_begin` and `step_end`; `stop` writes `steps.json` into the folder."""

    def __init__(self, options: ProfilerOptions | None = None, logdir: str | os.PathLike[str] = ".") -> None:
        self._folder = logdir  # said to be none where it is written to
        self._steps: list[dict[str, Any]] | None = None
        self._begun: tuple[int, float] | None = None

    @guarded
    def start(self) -> None:
        """Begins anew."""
        self._steps, self._begun = [], None

    @guarded
    def step_begin(self, number: int = 0) -> None:
        """A step begins."""
        if self._steps is None or self._begun is not None:
            raise Refused("step_begin comes after start, and after the end of the last step", Code.FAILED_PRECONDITION)
        self._begun = number, time.perf_counter()

    @guarded
    def step_end(self) -> None:
        """It ends."""
        if self._steps is None or self._begun is None:
            raise Refused("no step has begun", Code.FAILED_PRECONDITION)
        number, begun = self._begun
        self._steps.append({"step": number, "milliseconds": (time.perf_counter() - begun) * 1e3})
        self._begun = None

    @guarded
    def stop(self) -> None:
        """Writes the steps."""
        if self._steps is None:
            raise Refused("the profiler was not started", Code.FAILED_PRECONDITION)
        folder = Path(self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "steps.json").write_text(json.dumps(self._steps, indent=1))
        self._steps = None


class LoadPluginLibrary:
    """Loads plugins: Python files that register operators, see docs/guide/plugins.md."""

    def load(self, path: str | os.PathLike[str]) -> bool:
        """Whether that worked; libraries of another device do not."""
        from magicmind.plugin import load_plugins

        try:
            load_plugins([path])
        except Exception as error:
            LOG.error("LoadPluginLibrary: %s", error)
            return False
        return True
