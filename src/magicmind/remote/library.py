"""gRPC, where it is installed."""

from __future__ import annotations

from magicmind.errors import MissingExtraError

try:
    import grpc
except ModuleNotFoundError as error:
    raise MissingExtraError("a remote server needs gRPC", hint="pip install 'magicmind[remote]'") from error

__all__ = ["grpc"]
