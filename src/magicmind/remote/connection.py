"""A client's connection: who may see what is sent, how long an answer may take, and the two kinds of calls.

Off loopback a connection is TLS, checked against the certificates of MAGICMIND_REMOTE_CA, and carries the token of
MAGICMIND_REMOTE_TOKEN; on loopback both are used where they are set. Nothing waits for ever: a single call has a
deadline, a conversation (see `protocol`) ends when the server was silent for so long, and pings tell a dead machine.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from magicmind import knobs
from magicmind.errors import Error, RemoteError
from magicmind.remote import protocol
from magicmind.remote.address import Address
from magicmind.remote.failure import raised
from magicmind.remote.library import grpc
from magicmind.remote.protocol import Frame

CONNECT_SECONDS = 10.0
"""Until a server has said hello."""
_PING_MS = 10_000
Answer = Callable[[Frame], bytes | None]
"""What is done with a frame of the server: the next frame for it, or None where it waits for none."""


def message_options(ping_ms: int) -> list[tuple[str, Any]]:
    """Bounds of messages, and pings while calls are in progress; both sides have them."""
    most = protocol.MAX_MESSAGE + protocol.MAX_HEADER + 16
    return [
        ("grpc.max_receive_message_length", most),
        ("grpc.max_send_message_length", most),
        ("grpc.keepalive_time_ms", ping_ms),
        ("grpc.keepalive_timeout_ms", ping_ms),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", ping_ms // 2),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", ping_ms // 2),
    ]


class Connection:
    """A server that has said hello. May be used from many threads."""

    def __init__(self, address: str) -> None:
        """Raises RemoteError when nothing answers as a server of ours, Error where TLS or the token is missing."""
        self.address = Address.parse(address)
        self.timeout = _timeout()
        self._metadata = [(protocol.PROTOCOL_KEY, str(protocol.PROTOCOL)), *_token(self.address)]
        self._channel = _channel(self.address)
        self._calls: dict[str, Any] = {}
        try:
            self.server = dict(self.call(protocol.HELLO, protocol.encode({}), CONNECT_SECONDS).header)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, request: bytes, timeout: float | None = None) -> Frame:
        """One frame there, one back. Raises RemoteError, or the error of ours that the server had."""
        made = self._calls.get(method)
        if made is None:
            made = self._calls[method] = self._channel.unary_unary(f"/{protocol.SERVICE}/{method}")
        try:
            return self._decoded(made(request, timeout=timeout or self.timeout, metadata=self._metadata))
        except grpc.RpcError as error:
            raise raised(self.address, error) from error
        except ValueError as error:  # of a channel that was closed
            raise RemoteError(f"remote server {self.address}: {error}", "FAILED_PRECONDITION") from error

    def converse(self, method: str, first: Iterable[bytes], answer: Answer) -> Frame:
        """Sends `first`, answers what the server sends, and returns its last frame, `done`. Raises as `call`.

        `answer` runs in the calling thread. What it raises ends the conversation and is raised here.
        """
        outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        incoming: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
        call = self._channel.stream_stream(f"/{protocol.SERVICE}/{method}")(
            _sent(first, outgoing), metadata=self._metadata
        )
        threading.Thread(target=_receive, args=(call, incoming), name="magicmind-remote", daemon=True).start()
        try:
            while True:
                frame = self._next(incoming)
                if frame.header.get("kind") == "done":
                    return frame
                reply = answer(frame)
                if reply is not None:
                    outgoing.put(reply)
        finally:
            outgoing.put(None)
            call.cancel()

    def _next(self, incoming: queue.SimpleQueue[bytes | Exception | None]) -> Frame:
        try:
            message = incoming.get(timeout=self.timeout)
        except queue.Empty:
            text = f"remote server {self.address}: silent for {self.timeout:g} seconds"
            hint = "MAGICMIND_REMOTE_TIMEOUT is how many seconds a server may be silent"
            raise RemoteError(text, "DEADLINE_EXCEEDED", hint=hint) from None
        if isinstance(message, grpc.RpcError):
            raise raised(self.address, message) from message
        if not isinstance(message, bytes):
            text = f"remote server {self.address}: the conversation ended before its result ({message or 'closed'})"
            raise RemoteError(text, "ABORTED")
        return self._decoded(message)

    def _decoded(self, message: bytes) -> Frame:
        try:
            return protocol.decode(message)
        except protocol.MalformedError as error:
            raise self.misunderstood(error) from error

    def misunderstood(self, error: object) -> RemoteError:
        """The error of an answer that is none."""
        return RemoteError(f"remote server {self.address}: an answer that is none: {error}", "INTERNAL")

    def close(self) -> None:
        """Ends calls in progress. May be called more than once."""
        self._channel.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sent(first: Iterable[bytes], outgoing: queue.SimpleQueue[bytes | None]) -> Iterator[bytes]:
    yield from first
    while (frame := outgoing.get()) is not None:
        yield frame


def _receive(call: Iterable[bytes], incoming: queue.SimpleQueue[bytes | Exception | None]) -> None:
    try:
        for message in call:
            incoming.put(message)
    except Exception as error:  # raised in the thread that waits for the next message
        incoming.put(error)
    else:
        incoming.put(None)


def _timeout() -> float:
    text = knobs.REMOTE_TIMEOUT.text()
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 1e6:
        raise Error(f"{knobs.REMOTE_TIMEOUT.name}={text!r} is not a number of seconds above zero")
    return seconds


def _token(address: Address) -> list[tuple[str, str]]:
    token = knobs.REMOTE_TOKEN.text().strip()
    if not token and not address.loopback:
        raise RemoteError(
            f"remote server {address}: servers on other machines need a token",
            "UNAUTHENTICATED",
            hint=f"set {knobs.REMOTE_TOKEN.name}: {knobs.REMOTE_TOKEN.meaning}",
        )
    if not (token.isascii() and token.isprintable()):
        raise Error(f"{knobs.REMOTE_TOKEN.name} holds characters that cannot be sent", hint="letters and digits can")
    return [(protocol.TOKEN_KEY, f"Bearer {token}")] if token else []


def _channel(address: Address) -> Any:
    options: list[tuple[str, Any]] = [*message_options(_PING_MS), ("grpc.enable_retries", 0)]
    authorities = knobs.REMOTE_CA.text()
    if address.loopback:
        options.append(("grpc.enable_http_proxy", 0))
        if not authorities:
            return grpc.insecure_channel(str(address), options)
    if not authorities:
        raise RemoteError(
            f"remote server {address}: servers on other machines are reached by TLS only",
            "UNAUTHENTICATED",
            hint=f"set {knobs.REMOTE_CA.name}: {knobs.REMOTE_CA.meaning}",
        )
    return grpc.secure_channel(str(address), grpc.ssl_channel_credentials(read_pem(authorities)), options)


def read_pem(path: str | Path) -> bytes:
    """A file of certificates or keys. Raises Error."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror or error}") from error
    if b"-----BEGIN " not in data:
        raise Error(f"{path} is no PEM file", hint="text that begins with -----BEGIN CERTIFICATE-----, or a key's")
    return data
