"""A model that is ready to run, from a file or from memory."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magicmind.errors import Error, OfflineModelError
from magicmind.modelfile.parts import ModelParts
from magicmind.modelfile.reader import OfflineFile, memory_file, open_bytes, open_file
from magicmind.modelfile.writer import replace_file, write_fd
from magicmind.runtime.engine import Engine
from magicmind.runtime.program import Program
from magicmind.runtime.session import Session
from magicmind.tensorinfo import TensorInfo


class Model:
    """An offline model, opened and checked. Engines and sessions share its code and weights.

    Picklable: by path when it came from a file or was saved, else by value.
    """

    def __init__(self, file: OfflineFile) -> None:
        self._file = file
        self.path: Path | None = file.path
        try:
            self._program = Program(file)
        except BaseException:
            file.close()
            raise
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return self._file.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return self._file.outputs

    @property
    def target(self) -> str:
        """Name of the target whose code runs here."""
        return str(self._program.target["name"])

    def engine(self, threads: int | None = None) -> Engine:
        """An engine for at most `threads` threads per call (None: as many as the process may use)."""
        with self._lock:
            self._check_open()
            engine = Engine(self, self._program, threads)
            self._engines.add(engine)
            return engine

    def session(self, threads: int | None = None) -> Session:
        """A session with an engine of its own; see `engine`."""
        return Session(self.engine(threads))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the offline model file. Raises OfflineModelError when that is not possible."""
        self._check_open()
        replace_file(Path(path), (self._file.bytes(),))
        self.path = Path(path).absolute()

    def to_bytes(self) -> bytes:
        """The bytes of the offline model file."""
        self._check_open()
        return bytes(self._file.bytes())

    def info(self) -> dict[str, Any]:
        """What the file says about itself (see `describe`), the steps, and which of them are no native code.

        `prepared`: steps that run once, before the first call, the bytes of what they make, and how long they took.
        """
        self._check_open()
        steps, prepared = self._program.steps, self._program.prepared
        return {
            **description(self._file),
            "target": self.target,
            "steps": steps,
            "fallback": host_nodes(self._program.plan),
            "prepared": None
            if prepared is None
            else {"steps": prepared.steps, "bytes": prepared.size, "ns": prepared.ns},
        }

    def _check_open(self) -> None:
        if self._closed:
            raise Error("the model is closed", hint="load it again")

    def close(self) -> None:
        """Closes all engines (waiting for calls in progress) and gives code and weights back."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            engines = list(self._engines)
        for engine in engines:
            engine.close()
        self._program.close()
        self._file.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        self._check_open()
        if self.path is None:
            return from_bytes, (self.to_bytes(),)
        return _reload, (str(self.path), self._file.fingerprint)


def load(path: str | os.PathLike[str], verify: str = "fast") -> Model:
    """Opens an offline model file.

    verify: "fast" checks weights by CRC-32, "full" by SHA-256 too; all else is always checked by SHA-256.
    Raises OfflineModelError for a damaged or foreign file, TargetError when it holds no code for this CPU.
    """
    return Model(open_file(path, verify))


def from_bytes(data: bytes | memoryview) -> Model:
    """A model from the bytes of an offline model file."""
    return Model(open_bytes(data))


def from_parts(parts: ModelParts) -> Model:
    """A model straight from the compiler, through an offline model file in memory."""
    fd = memory_file("magicmind-model")
    write_fd(parts, fd)
    return Model(OfflineFile(fd, None))


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What an offline model file says about itself, also for CPUs that this is not. Raises OfflineModelError."""
    file = open_file(path)
    try:
        return description(file)
    finally:
        file.close()


def host_nodes(plan: Mapping[str, Any]) -> list[str]:
    """The nodes that run as host functions, `name (operator)`, those of nested graphs included."""
    plans = (plan, *plan.get("bodies", ()))
    return [f"{step['node']} ({step['op']})" for each in plans for step in each["steps"] if "host" in step]


def description(file: OfflineFile) -> dict[str, Any]:
    """The manifest with the sizes of the file and its sections."""
    sizes = {name: section.size for name, section in file.sections.items()}
    return {**file.manifest, "path": file.where, "bytes": file.size, "section_bytes": sizes}


def _reload(path: str, fingerprint: str) -> Model:
    model = load(path)
    if model._file.fingerprint != fingerprint:
        model.close()
        raise OfflineModelError(f"{path} is not the model that was pickled", hint="pickle it again")
    return model
