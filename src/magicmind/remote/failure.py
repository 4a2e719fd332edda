"""Errors on their way through gRPC: an error of ours keeps its class and text, everything else its status code."""

from __future__ import annotations

from magicmind import errors
from magicmind.errors import Error, RemoteError
from magicmind.remote.library import grpc
from magicmind.remote.protocol import ERROR_KEY, MalformedError

_TEXT = 3000
"""Characters of an error's text that travel: gRPC bounds what stands beside its status."""
_OURS = {
    kind.__name__: kind
    for kind in (
        errors.Error, errors.ModelFormatError, errors.UnsupportedOperatorError, errors.ShapeError,
        errors.PrecisionError, errors.TargetError, errors.CompileError, errors.OfflineModelError,
    )
}  # fmt: skip
_HINTS = {
    "UNAVAILABLE": "is the server running, and does the network let you reach it?",
    "DEADLINE_EXCEEDED": "MAGICMIND_REMOTE_TIMEOUT is how many seconds a server may be silent",
    "UNAUTHENTICATED": "MAGICMIND_REMOTE_TOKEN has to be the server's token",
    "RESOURCE_EXHAUSTED": "the server's options --calls, --max-models and --max-bytes bound what it does at once",
    "UNIMPLEMENTED": "is what answers there a `magicmind remote-server`?",
}
_CERTIFICATE = "MAGICMIND_REMOTE_CA has to be the certificates that the server's is signed with, for this host name"


def refusal(error: BaseException) -> tuple[grpc.StatusCode, str, str]:
    """(code, text, name of the class) of what went wrong in a call on the server."""
    text = "\n".join([str(error), *getattr(error, "__notes__", ())])[:_TEXT]
    if isinstance(error, RemoteError):
        return grpc.StatusCode[error.code], text, ""
    if isinstance(error, Error):
        return grpc.StatusCode.INVALID_ARGUMENT, text, _name(error)
    if isinstance(error, MalformedError):
        return grpc.StatusCode.INVALID_ARGUMENT, f"malformed message: {text}", ""
    if isinstance(error, MemoryError):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, "the server has not enough memory for this", ""
    # What the text of any other exception tells about the server is for its log.
    return grpc.StatusCode.INTERNAL, f"the server failed ({type(error).__name__}); its log says more", ""


def _name(error: Error) -> str:
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _OURS), "Error")


def raised(address: object, error: grpc.RpcError) -> Error:
    """The error of a call that failed, as the client raises it."""
    code = error.code().name if isinstance(error, grpc.Call) and error.code() is not None else "UNKNOWN"
    text = (error.details() if isinstance(error, grpc.Call) else None) or "no reason is given"
    trailers: dict[str, str | bytes] = dict(error.trailing_metadata() or ()) if isinstance(error, grpc.Call) else {}
    kind = _OURS.get(str(trailers.get(ERROR_KEY, "")))
    if kind is not None:
        return kind(f"remote server {address}: {text}")
    hint = _HINTS.get(code)
    if code == "UNAVAILABLE" and any(word in text.lower() for word in ("handshake", "certificate", "verification")):
        hint = _CERTIFICATE
    return RemoteError(f"remote server {address}: {code}: {text}", code, hint=hint)
