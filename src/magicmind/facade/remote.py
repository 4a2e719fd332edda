"""Other machines: a server that runs here, and a session with one that runs elsewhere (docs/guide/remote.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicmind import knobs
from magicmind.facade.device import Device
from magicmind.facade.status import Code, Refused, guarded, or_none
from magicmind.runtime import Model as CoreModel

if TYPE_CHECKING:
    from magicmind.remote.models import RemoteModel
    from magicmind.remote.server import RemoteServer

_PORTS = 65536


class IRpcServer:
    """Calibrates and runs models for programs on this machine; `magicmind remote-server` does so for others too."""

    def __init__(self, server: RemoteServer) -> None:
        self._server = server

    @property
    def port(self) -> int:
        """Where it listens: the number that was asked for, or a free one for 0."""
        return self._server.port

    @guarded
    def handle_rpcs_loop(self) -> None:
        """Serves until another thread calls `shutdown`."""
        self._server.wait()

    @guarded
    def shutdown(self) -> None:
        """Ends calls in progress, and the loop."""
        self._server.stop()


@or_none
def create_rpc_server(port: int) -> IRpcServer:
    """A server that listens on a port of this machine alone: reaching others takes TLS and a token."""
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port < _PORTS:
        raise Refused(f"{port!r:.60} is no port: 0 to {_PORTS - 1}, 0 for a free one")
    from magicmind.remote.address import Address
    from magicmind.remote.server import Options, RemoteServer

    return IRpcServer(
        RemoteServer(Options(address=Address("127.0.0.1", port), token=knobs.REMOTE_TOKEN.text().strip()))
    )


class IRpcSession:
    """A server that has answered. `Model.EngineConfig().rpc_session` runs models on it."""

    def __init__(self, address: str, server: dict[str, Any]) -> None:
        self.address, self.server = address, server
        self._models: list[RemoteModel] = []
        self._open = True

    @staticmethod
    @or_none
    def rpc_connect(address: str) -> IRpcSession:
        """A session with the server at `host:port`."""
        if not isinstance(address, str):
            raise Refused(f"an address is a text, host:port, not {address!r:.60}")
        from magicmind.remote.connection import Connection

        connection = Connection(address)
        try:
            return IRpcSession(address, connection.server)
        finally:
            connection.close()

    def connected(self) -> bool:
        """Whether the session was not ended."""
        return self._open

    @or_none
    def get_device_by_id(self, device_id: int) -> Device:
        """A device of the server: its CPU, whose number is 0."""
        device = Device()
        device.id = device_id
        status = device.active()
        if not status.ok():
            raise Refused(status.error_message, status.code)
        return device

    def model(self, core: CoreModel) -> RemoteModel:
        """The model on the server.  Raises Refused for a session that was ended, RemoteError."""
        if not self._open:
            raise Refused("the session was ended: call rpc_connect again", Code.FAILED_PRECONDITION)
        from magicmind.remote.models import RemoteModel

        found = RemoteModel(self.address, core.to_bytes())
        self._models.append(found)
        return found

    @guarded
    def destroy(self) -> None:
        """Ends the session; engines that were made with it fail from here on."""
        self._open = False
        for model in self._models:
            model.close()
        self._models.clear()


__all__ = ["IRpcServer", "IRpcSession", "create_rpc_server"]
