"""The server's side of conversations, and what is done in them: taking a model in, and calibrating.

A job runs in a thread of its own, so that the call can say every few seconds that the server is alive, and can end
when the client is silent.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from magicmind.errors import MissingExtraError, RemoteError
from magicmind.remote import protocol
from magicmind.remote.protocol import Frame, MalformedError
from magicmind.remote.store import Store

if TYPE_CHECKING:
    from magicmind.quant.samples import Sample

HEARTBEAT_SECONDS = 1.0
_ALIVE = protocol.encode({"kind": "alive"})
_calibrating = threading.Lock()
"""LLVM and the native team take one network at a time; further calibrations wait, and their clients hear so."""


class Conversation:
    """What a job sees of its client."""

    def __init__(self, requests: Iterator[bytes], idle: float) -> None:
        self._requests, self._idle = requests, idle
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._waiting_since: float | None = None
        self._failure: Exception | None = None

    def receive(self) -> Frame:
        """The client's next frame. Raises MalformedError, also at the end."""
        self._waiting_since = time.monotonic()
        try:
            message = next(self._requests, None)
        finally:
            self._waiting_since = None
        if message is None:
            raise MalformedError("the client ended the conversation too early")
        return protocol.decode(message)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The payloads of the frames that follow: `size` bytes. Raises MalformedError for more, or empty ones."""
        while size:
            piece = self.receive().payload
            if not 0 < len(piece) <= size:
                raise MalformedError(f"a piece of {len(piece)} bytes where {size} are left")
            size -= len(piece)
            yield piece

    def send(self, message: bytes) -> None:
        """Sends a frame; returns at once."""
        self._outgoing.put(message)

    def run(self, job: Callable[[Conversation], None]) -> Iterator[bytes]:
        """The messages of a job. Raises what it raises, and RemoteError when the client is silent for too long."""
        threading.Thread(target=self._work, args=(job,), name="magicmind-job", daemon=True).start()
        while True:
            try:
                message = self._outgoing.get(timeout=HEARTBEAT_SECONDS)
            except queue.Empty:
                since = self._waiting_since
                if since is not None and time.monotonic() - since > self._idle:
                    text = f"the client was silent for {self._idle:g} seconds"
                    raise RemoteError(text, "DEADLINE_EXCEEDED") from None
                message = _ALIVE
            if message is None:
                break
            yield message
        if self._failure is not None:
            raise self._failure

    def _work(self, job: Callable[[Conversation], None]) -> None:
        try:
            job(self)
        except Exception as error:  # raised in the call's thread
            self._failure = error
        self._outgoing.put(None)


def take_in(store: Store, talk: Conversation) -> None:
    """Receives an offline model and answers with its description."""
    head = talk.receive()
    digest, size = head.text("model"), head.count("bytes", protocol.MAX_FILE)
    store.add(digest, size, talk.pieces(size))
    talk.send(protocol.encode(store.describe(digest)))


def calibrate(talk: Conversation) -> None:
    """Receives a simplified network, asks for samples, and answers with the scales."""
    try:
        from magicmind.compiler import build
        from magicmind.frontends.onnx import read_onnx
        from magicmind.graph import Graph
        from magicmind.quant.quantise import calibrate_model
        from magicmind.quant.samples import Samples
    except ModuleNotFoundError as error:
        text = f"calibrating needs the package {error.name!r} on the server"
        raise MissingExtraError(text, hint="pip install 'magicmind[build,remote]' there") from error

    head = talk.receive()
    how, size = _quantisation(head), head.count("bytes", protocol.MAX_FILE)
    total = head.count("samples", 1 << 48)
    data = b"".join(talk.pieces(size))

    def progress(what: str, done: int, total: int) -> None:
        talk.send(protocol.encode({"kind": "progress", "what": what, "done": done, "total": total}))

    with _calibrating:
        graph = Graph(read_onnx(data))  # from bytes: what it refers to outside itself is refused
        scales = calibrate_model(graph.model, Samples(_samples(talk), total, False, "samples"), how, build, progress)
    talk.send(protocol.encode_piece({"kind": "done"}, json.dumps(scales.to_json(ranges=True)).encode()))


def _samples(talk: Conversation) -> Iterator[Sample]:
    """One after another; the next is asked for while one is run."""
    ask = protocol.encode({"kind": "next"})
    talk.send(ask)
    while True:
        frame = talk.receive()
        if frame.header.get("kind") == "end":
            return
        talk.send(ask)
        yield frame.tensors


def _quantisation(head: Frame) -> Any:
    """The options, each of its own type. Raises MalformedError, PrecisionError."""
    from magicmind.quant.quantise import Quantisation

    given = head.header.get("quantisation")
    known = {field.name: getattr(Quantisation(), field.name) for field in fields(Quantisation)}
    if not isinstance(given, dict) or set(given) != set(known):
        raise MalformedError(f"quantisation has to give {', '.join(known)}")
    for name, value in given.items():
        kind = bool if known[name] is None else type(known[name])
        if not isinstance(value, kind) and not (known[name] is None and value is None):
            raise MalformedError(f"quantisation: {name} is {value!r:.40}")
    return Quantisation(**given)
