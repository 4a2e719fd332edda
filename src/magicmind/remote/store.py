"""The offline models that a server holds, by SHA-256: checked by the reader like any file, in memory only, bounded."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from magicmind.errors import RemoteError
from magicmind.modelfile.reader import OfflineFile, memory_file
from magicmind.remote.description import json_of
from magicmind.remote.protocol import MalformedError
from magicmind.runtime.model import Model
from magicmind.runtime.session import Session


@dataclass
class _Held:
    model: Model
    session: Session
    size: int
    users: int = field(default=0)


class Store:
    """Models by digest. Those unused the longest make room; one in use stays."""

    def __init__(self, most_bytes: int, most_models: int, threads: int | None) -> None:
        self._most_bytes, self._most_models, self._threads = most_bytes, most_models, threads
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def session(self, digest: str) -> Iterator[Session]:
        """The model's session, kept while it is used. Raises RemoteError NOT_FOUND."""
        with self._lock:
            held = self._held.get(digest)
            if held is None:
                raise RemoteError("the server does not hold this model", "NOT_FOUND", hint="send it")
            self._held.move_to_end(digest)
            held.users += 1
        try:
            yield held.session
        finally:
            with self._lock:
                held.users -= 1

    def describe(self, digest: str) -> dict[str, Any]:
        """What clients have to know of a model."""
        with self.session(digest) as session:
            model = session.engine.model
            return {
                "kind": "done",
                "target": model.target,
                "inputs": [json_of(info) for info in model.inputs],
                "outputs": [json_of(info) for info in model.outputs],
            }

    def add(self, digest: str, size: int, pieces: Iterable[bytes | memoryview]) -> None:
        """Takes a model in. Raises MalformedError where it is not what was announced, and as `magicmind.load`."""
        self._make_room(size)
        fd = _received(digest, size, pieces)
        model = Model(OfflineFile(fd, None))  # owns fd from here on; checks all of it before code is mapped
        held = _Held(model, model.session(self._threads), size)
        with self._lock:
            if digest not in self._held:
                self._held[digest] = held
                return
        model.close()  # two clients sent it at the same time

    def _make_room(self, size: int) -> None:
        with self._lock:
            dropped = []
            idle = [digest for digest, held in self._held.items() if not held.users]
            while self._held and (len(self._held) >= self._most_models or self._bytes + size > self._most_bytes):
                if not idle:
                    break
                dropped.append(self._held.pop(idle.pop(0)))
            full = len(self._held) >= self._most_models or self._bytes + size > self._most_bytes
        for held in dropped:
            held.model.close()
        if full:
            text = f"the server has no room for a model of {size} bytes: it holds {self._most_bytes} in all"
            raise RemoteError(text, "RESOURCE_EXHAUSTED", hint="its options --max-bytes and --max-models say how much")

    @property
    def _bytes(self) -> int:
        return sum(held.size for held in self._held.values())

    def close(self) -> None:
        """Closes all models; waits for calls in progress."""
        with self._lock:
            held, self._held = list(self._held.values()), OrderedDict()
        for each in held:
            each.model.close()


def _received(digest: str, size: int, pieces: Iterable[bytes | memoryview]) -> int:
    """Descriptor of a file in memory with exactly the announced bytes."""
    fd = memory_file("magicmind-remote-model")
    try:
        found, at = hashlib.sha256(), 0
        for piece in pieces:
            found.update(piece)
            at += len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
        if at != size or found.hexdigest() != digest:
            raise MalformedError(
                f"{at} bytes with SHA-256 {found.hexdigest()}, announced were {size} with {digest:.64}"
            )
    except BaseException:
        os.close(fd)
        raise
    return fd
