"""Compiled modules on disk: an object is found by everything that decides its bytes, so it is never out of date.

A file per object under MAGICMIND_CACHE_DIR/objects, named by its key, beginning with a checksum. Files appear by
rename, so processes may share the folder; what does not read back whole counts as absent. The folder is for the
user alone (it holds code) and is kept below MAGICMIND_CACHE_MB, the longest unused going first.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from magicmind import knobs
from magicmind.files import draft_of

_DIGEST_BYTES = 32
_WRITES_PER_SWEEP = 500
_writes = 0
_log = logging.getLogger(__name__)


def key_of(parts: Sequence[str]) -> str:
    """The name of what these texts decide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def find_or_make(key: str, make: Callable[[], bytes]) -> bytes:
    """The object of that key, from the folder or else from `make`. A folder that cannot be used costs time only."""
    limit = (knobs.CACHE_MB.integer() or 0) << 20
    if limit <= 0:
        return make()
    path = knobs.cache_dir() / "objects" / key[:2] / key
    found = _read(path)
    if found is None:
        found = make()
        _write(path, found, limit)
    return found


def _read(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    found = data[_DIGEST_BYTES:]
    return found if hashlib.sha256(found).digest() == data[:_DIGEST_BYTES] else None


def _write(path: Path, data: bytes, limit: int) -> None:
    global _writes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parents[1].chmod(0o700)
        with draft_of(path) as draft:
            draft.write_bytes(hashlib.sha256(data).digest() + data)
        if _writes % _WRITES_PER_SWEEP == 0:
            sweep(path.parents[1], limit)
        _writes += 1
    except OSError as error:
        _log.debug("compiled kernels are not kept: %s", error)


def sweep(folder: Path, limit: int) -> None:
    """Removes the files that were read or written longest ago until the rest is below three quarters of `limit` bytes;
    nothing when all are below `limit`. Another process may remove files at the same time."""
    files = []
    for path in folder.glob("*/*"):
        try:
            status = path.stat()
        except OSError:
            continue
        files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    total = sum(size for _, size, _ in files)
    if total <= limit:
        return
    for _, size, path in sorted(files):
        if total <= limit * 3 // 4:
            return
        path.unlink(missing_ok=True)
        total -= size
