"""Opens offline model files: checks every length and hash, then gives out views and mappings. numpy and stdlib only.

Loading is executing, so nothing is mapped executable before the whole file has been checked.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import weakref
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.dtypes import numpy_dtype
from magicmind.errors import OfflineModelError
from magicmind.modelfile.layout import DAMAGED, GRAPH, MANIFEST, REBUILD, WEIGHTS, Section, parse_header
from magicmind.tensorinfo import TensorInfo


class Mapping:
    """A piece of memory from mmap with its address. `close` gives it back; nothing may use it afterwards."""

    def __init__(self, memory: mmap.mmap, skipped: int = 0) -> None:
        self._memory: mmap.mmap | None = memory
        self.address = np.frombuffer(memory, np.uint8).__array_interface__["data"][0] + skipped

    def close(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def map_code(data: memoryview) -> Mapping:
    """A private executable copy of `data` (through a memfd): never writable and executable at once."""
    fd = memory_file("magicmind-code")
    try:
        os.truncate(fd, len(data))
        os.pwrite(fd, data, 0)
        return Mapping(mmap.mmap(fd, len(data), mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC))
    finally:
        os.close(fd)


def memory_file(name: str) -> int:
    """Descriptor of an empty file that lives in memory only."""
    return os.memfd_create(name, os.MFD_CLOEXEC)


class OfflineFile:
    """A checked offline model file.

    `path` is None for a model in memory. `inputs`/`outputs` come from the manifest; `targets` is its list of targets,
    the best first. `fingerprint` is the hash of the header, hence of everything.
    """

    def __init__(self, fd: int, path: Path | None, verify: str = "fast") -> None:
        """Takes over `fd`. verify: "fast" (weights by CRC-32) or "full" (weights by SHA-256 too)."""
        self.path = path
        self.where = str(path) if path is not None else "model in memory"
        self._fd = fd
        self._release_fd = weakref.finalize(self, os.close, fd)  # also when the file is dropped without close
        self._memory: mmap.mmap | None = None
        self._view = memoryview(b"")
        try:
            if verify not in ("fast", "full"):
                raise OfflineModelError(f"verify={verify!r} is unknown", hint='use "fast" or "full"')
            self._open(verify == "full")
        except BaseException:
            self.close()
            raise

    def _open(self, full: bool) -> None:
        size = os.fstat(self._fd).st_size
        if size == 0:
            raise OfflineModelError(f"{self.where}: the file is empty", hint=DAMAGED)
        self._memory = mmap.mmap(self._fd, size, access=mmap.ACCESS_READ)
        self._view = memoryview(self._memory)
        self.size = size
        self.sections = parse_header(self._view, self.where)
        self.fingerprint = bytes(self._view[64:96]).hex()
        for section in self.sections.values():
            self._check(section, full)
        self.manifest = self.json(MANIFEST)
        try:
            self._read_manifest()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OfflineModelError(f"{self.where}: the manifest lacks or garbles {error}", hint=REBUILD) from error
        self.weights_address = self._address(WEIGHTS)

    def _check(self, section: Section, full: bool) -> None:
        with self.view(section.name) as data:  # released here: a view kept by a traceback would hold the mapping
            damaged = zlib.crc32(data) != section.crc32
            if section.name != WEIGHTS or full:
                damaged = damaged or hashlib.sha256(data).digest() != section.sha256
        if damaged:
            raise OfflineModelError(f"{self.where}: section {section.name!r} does not match its hash", hint=DAMAGED)

    def _read_manifest(self) -> None:
        self.inputs = tuple(_tensor(item) for item in self.manifest["inputs"])
        self.outputs = tuple(_tensor(item) for item in self.manifest["outputs"])
        self.targets: list[dict[str, Any]] = self.manifest["targets"]
        needed = {MANIFEST, GRAPH, WEIGHTS}
        for target in self.targets:
            needed |= {f"{kind}:{target['name']}" for kind in ("plan", "code", "team")}
        if missing := needed - self.sections.keys():
            raise OfflineModelError(f"{self.where}: section {sorted(missing)[0]!r} is missing", hint=REBUILD)
        listed = {name: s.sha256.hex() for name, s in self.sections.items() if name != MANIFEST}
        if self.manifest["sections"] != listed:
            raise OfflineModelError(f"{self.where}: the manifest does not match the section table", hint=DAMAGED)

    def view(self, name: str) -> memoryview:
        """A section's bytes, valid until `close`."""
        section = self.sections[name]
        return self._view[section.offset : section.end]

    def bytes(self) -> memoryview:
        """The whole file."""
        return self._view

    def json(self, name: str) -> Any:
        """A section as JSON. Raises OfflineModelError."""
        try:
            return json.loads(bytes(self.view(name)))
        except (KeyError, ValueError, RecursionError) as error:
            raise OfflineModelError(f"{self.where}: section {name!r} is not JSON: {error}", hint=REBUILD) from error

    def _address(self, name: str) -> int:
        assert self._memory is not None
        start: int = np.frombuffer(self._memory, np.uint8).__array_interface__["data"][0]
        return start + self.sections[name].offset

    def map_section(self, name: str) -> Mapping:
        """The section read+execute, straight from the file; a copy where the file system forbids execution."""
        section = self.sections[name]
        # The system's page may be larger than the file's 4096 (AArch64).
        skipped = section.offset % mmap.ALLOCATIONGRANULARITY
        try:
            memory = mmap.mmap(
                self._fd,
                section.size + skipped,
                mmap.MAP_PRIVATE,
                mmap.PROT_READ | mmap.PROT_EXEC,
                offset=section.offset - skipped,
            )
        except PermissionError:
            return map_code(self.view(name))
        return Mapping(memory, skipped)

    def close(self) -> None:
        """Gives the mapping and the descriptor back. Views handed out must be gone."""
        self._view.release()
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        self._release_fd()


def open_file(path: str | os.PathLike[str], verify: str = "fast") -> OfflineFile:
    """Opens and checks an offline model. Raises OfflineModelError for whatever is wrong with it."""
    where = Path(path)
    try:
        fd = os.open(where, os.O_RDONLY | os.O_CLOEXEC)
        if not where.is_file():
            os.close(fd)
            raise OfflineModelError(f"{where}: not a file")
    except OSError as error:
        raise OfflineModelError(f"cannot open {where}: {error.strerror}", hint="check the path") from error
    return OfflineFile(fd, where.absolute(), verify)


def open_bytes(data: bytes | memoryview) -> OfflineFile:
    """Opens an offline model that is in memory, through the same path as a file."""
    fd = memory_file("magicmind-model")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    return OfflineFile(fd, None)


def _tensor(item: dict[str, Any]) -> TensorInfo:
    shape = tuple(dim if isinstance(dim, int) else (int(dim[0]), dim[1]) for dim in item["shape"])
    return TensorInfo(str(item["name"]), numpy_dtype(item["dtype"]), shape, str(item.get("kind", "tensor")))
