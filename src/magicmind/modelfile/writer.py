"""Writes offline model files. The same parts give the same bytes; a file appears whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from magicmind import __version__, files
from magicmind.errors import OfflineModelError
from magicmind.modelfile import abi
from magicmind.modelfile.layout import GRAPH, MANIFEST, WEIGHTS, Section, align, header_size, pack_header
from magicmind.modelfile.parts import ModelParts, TargetParts
from magicmind.modelfile.plugins import plugins_of
from magicmind.tensorinfo import TensorInfo

_Chunks = Callable[[], Iterable[bytes | memoryview]]


def serialize(parts: ModelParts) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    for chunk in _file_chunks(parts):
        buffer.write(chunk)
    return buffer.getvalue()


def write_fd(parts: ModelParts, fd: int) -> None:
    """Writes the file's bytes to a descriptor at its position."""
    with os.fdopen(os.dup(fd), "wb") as file:
        for chunk in _file_chunks(parts):
            file.write(chunk)


def write_model(path: str | os.PathLike[str], parts: ModelParts) -> None:
    """Writes `path` by way of a temporary file beside it and a rename, so that a mapped file never changes.

    Raises OfflineModelError when the folder is missing or read-only or the disk is full; nothing is left behind then.
    """
    replace_file(Path(path), _file_chunks(parts))


def replace_file(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Puts a file of these bytes in the place of `path`, whole or not at all. Raises OfflineModelError."""
    try:
        files.replace(path, chunks)
    except OSError as error:
        raise OfflineModelError(
            f"cannot write {path}: {error.strerror or error}",
            hint="choose a folder that exists, may be written to and has room; nothing was left behind",
        ) from error


def _file_chunks(parts: ModelParts) -> Iterable[bytes | memoryview]:
    bodies = _bodies(parts)
    hashes = {name: _digest(chunks) for name, chunks in bodies.items()}
    manifest = _json(_manifest(parts, {name: digest.hex() for name, (_, _, digest) in hashes.items()}))
    bodies = {MANIFEST: lambda: (manifest,), **bodies}
    hashes[MANIFEST] = _digest(bodies[MANIFEST])
    sections: list[Section] = []
    end = header_size(len(bodies))
    for name in bodies:
        size, crc, digest = hashes[name]
        sections.append(Section(name, align(end), size, crc, digest))
        end = sections[-1].end
    yield pack_header(sections)
    end = header_size(len(bodies))
    for section in sections:
        yield bytes(section.offset - end)
        yield from bodies[section.name]()
        end = section.end


def _bodies(parts: ModelParts) -> dict[str, _Chunks]:
    """Every section but the manifest; weights last, so that what is read first lies together."""
    bodies: dict[str, _Chunks] = {GRAPH: lambda: (parts.graph,)}
    for target in parts.targets:
        texts = {"plan": _json(target.plan), "tensors": _json(target.tensors)}
        for kind, data in {**texts, "code": target.code.data, "team": target.team.data}.items():
            bodies[f"{kind}:{target.name}"] = functools.partial(_single, data)
    bodies[WEIGHTS] = parts.weights.chunks
    return bodies


def _digest(chunks: _Chunks) -> tuple[int, int, bytes]:
    size, crc, sha = 0, 0, hashlib.sha256()
    for chunk in chunks():
        size += len(chunk)
        crc = zlib.crc32(chunk, crc)
        sha.update(chunk)
    return size, crc, sha.digest()


def _manifest(parts: ModelParts, hashes: Mapping[str, str]) -> dict[str, Any]:
    plugins = sorted({name for target in parts.targets for name in plugins_of(target.plan)})
    return {
        "producer": f"magicmind {__version__}",
        **parts.info,
        "precision": parts.precision,
        "inputs": [_tensor(item) for item in parts.inputs],
        "outputs": [_tensor(item) for item in parts.outputs],
        "ranges": {name: list(bounds) for name, bounds in parts.ranges.items()},
        "targets": [_target(item) for item in parts.targets],
        "sections": hashes,
        **({"plugins": plugins} if plugins else {}),
    }


def _tensor(item: TensorInfo) -> dict[str, Any]:
    shape = [dim if isinstance(dim, int) else list(dim) for dim in item.shape]
    kind = {} if item.kind == "tensor" else {"kind": item.kind}
    return {"name": item.name, "dtype": item.dtype.name, "shape": shape, **kind}


def _target(item: TargetParts) -> dict[str, Any]:
    return {
        "name": item.name,
        "machine": item.machine,
        "requires": sorted(item.requires),
        "entries": dict(item.code.symbols),
        "team": {"abi": abi.TEAM_ABI, "version": abi.TEAM_VERSION, "entries": dict(item.team.symbols)},
    }


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _single(data: bytes) -> tuple[bytes]:
    return (data,)
