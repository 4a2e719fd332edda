"""The server: who may call, what is bounded, and what becomes of errors. `magicmind remote-server` runs it.

An offline model is machine code, so whoever may call may run code: off loopback that takes TLS and the token, on
loopback the token where one is set. Messages themselves are data only (`protocol`).
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from magicmind.errors import Error
from magicmind.remote import jobs, protocol
from magicmind.remote.address import Address
from magicmind.remote.connection import message_options
from magicmind.remote.failure import refusal
from magicmind.remote.jobs import Conversation
from magicmind.remote.library import grpc
from magicmind.remote.protocol import Frame
from magicmind.remote.store import Store

LOG = logging.getLogger("magicmind.remote")
SHORTEST_TOKEN = 16
_PING_MS = 20_000


@dataclass(frozen=True)
class Options:
    """What a server is started with. `certificate` and `key` are PEM; `idle`: seconds a client may be silent."""

    address: Address
    token: str = field(default="", repr=False)
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    calls: int = 8
    threads: int | None = None
    max_models: int = 16
    max_bytes: int = protocol.MAX_FILE
    idle: float = 300.0

    def __post_init__(self) -> None:
        """Raises Error for a server that everybody could use."""
        if bool(self.certificate) != bool(self.key):
            raise Error("TLS needs both a certificate and its key", hint="give --cert and --key")
        if self.token and (len(self.token) < SHORTEST_TOKEN or not (self.token.isascii() and self.token.isprintable())):
            raise Error(
                f"the token has {len(self.token)} characters",
                hint=f"at least {SHORTEST_TOKEN} printable ASCII ones, for example of `openssl rand -hex 32`",
            )
        if not self.address.loopback and not (self.token and self.certificate):
            raise Error(
                f"{self.address} can be reached from other machines: that takes TLS and a token",
                hint="give --cert, --key and a token, or listen on 127.0.0.1",
            )


class RemoteServer:
    """A server that listens. `port` is the one it got where 0 was asked."""

    def __init__(self, options: Options) -> None:
        """Raises Error when it cannot listen."""
        self._store = Store(options.max_bytes, options.max_models, options.threads)
        self._server = grpc.server(
            ThreadPoolExecutor(options.calls, thread_name_prefix="magicmind-call"),
            handlers=[_handlers(self._store, options.idle)],
            interceptors=[_Gate(options.token)],
            options=[*message_options(_PING_MS), ("grpc.so_reuseport", 0)],
            maximum_concurrent_rpcs=options.calls,
        )
        try:
            if options.certificate:
                credentials = grpc.ssl_server_credentials([(options.key, options.certificate)])
                self.port = self._server.add_secure_port(str(options.address), credentials)
            else:
                self.port = self._server.add_insecure_port(str(options.address))
        except (RuntimeError, ValueError) as error:
            self.port = 0
            problem: BaseException | None = error
        else:
            problem = None
        if not self.port:
            raise Error(
                f"{options.address} cannot be listened on: {problem or 'certificate and key do not fit'}",
                hint="is the port taken, is the address this machine's, are certificate and key a pair?",
            ) from problem
        self._server.start()

    def wait(self) -> None:
        """Until it is stopped."""
        self._server.wait_for_termination()

    def stop(self, grace: float = 1.0) -> None:
        """Refuses new calls, gives those in progress `grace` seconds, and closes the models."""
        self._server.stop(grace).wait()
        self._store.close()

    def __enter__(self) -> RemoteServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Gate(grpc.ServerInterceptor):
    """Refuses calls without the token or of another protocol before anything of their messages is read."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode() if token else b""

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """As gRPC calls it for every call."""
        given = {key: value for key, value in details.invocation_metadata or ()}
        if self._expected and not hmac.compare_digest(_bytes(given.get(protocol.TOKEN_KEY)), self._expected):
            return _refused(grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong")
        spoken = _bytes(given.get(protocol.PROTOCOL_KEY)).decode("ascii", "replace")
        if spoken != str(protocol.PROTOCOL):
            text = f"the server speaks version {protocol.PROTOCOL} of the protocol, the client {spoken or 'none'}"
            return _refused(grpc.StatusCode.FAILED_PRECONDITION, f"{text}: install the same magicmind on both")
        return continuation(details)


def _bytes(value: str | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else (value or "").encode()


def _refused(code: grpc.StatusCode, text: str) -> Any:
    """A handler that reads nothing."""

    def refuse(_: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.abort(code, text)
        yield b""

    return grpc.stream_stream_rpc_method_handler(refuse)


def _handlers(store: Store, idle: float) -> Any:
    single: dict[str, Callable[[Frame], bytes]] = {
        protocol.HELLO: _hello,
        protocol.DESCRIBE: lambda frame: protocol.encode(store.describe(frame.text("model"))),
        protocol.RUN: partial(_run, store),
    }
    conversations: dict[str, Callable[[Conversation], None]] = {
        protocol.UPLOAD: partial(jobs.take_in, store),
        protocol.CALIBRATE: jobs.calibrate,
    }
    return grpc.method_handlers_generic_handler(
        protocol.SERVICE,
        {name: grpc.unary_unary_rpc_method_handler(partial(_single, handle)) for name, handle in single.items()}
        | {
            name: grpc.stream_stream_rpc_method_handler(partial(_conversation, job, idle))
            for name, job in conversations.items()
        },
    )


def _hello(_: Frame) -> bytes:
    import magicmind

    return protocol.encode({"version": magicmind.__version__, "cpus": len(os.sched_getaffinity(0))})


def _run(store: Store, frame: Frame) -> bytes:
    with store.session(frame.text("model")) as session:
        return protocol.encode({}, session.run(dict(frame.tensors)))


def _single(handle: Callable[[Frame], bytes], request: bytes, context: grpc.ServicerContext) -> bytes:
    try:
        return handle(protocol.decode(request))
    except Exception as error:
        failure = error
    _fail(context, failure)
    return b""


def _conversation(
    job: Callable[[Conversation], None], idle: float, requests: Iterator[bytes], context: grpc.ServicerContext
) -> Iterator[bytes]:
    try:
        yield from Conversation(requests, idle).run(job)
        return
    except Exception as error:
        failure = error
    _fail(context, failure)


def _fail(context: grpc.ServicerContext, error: Exception) -> None:
    """Ends the call with what went wrong."""
    code, text, kind = refusal(error)
    internal = code is grpc.StatusCode.INTERNAL
    LOG.log(
        logging.ERROR if internal else logging.INFO,
        "%s: %s",
        context.peer(),
        text,
        exc_info=error if internal else None,
    )
    if kind:
        context.set_trailing_metadata(((protocol.ERROR_KEY, kind),))
    context.abort(code, text)
