"""Other machines."""

from magicmind.facade.calibrator import RemoteConfig
from magicmind.facade.remote import IRpcServer, IRpcSession, create_rpc_server

__all__ = ["IRpcServer", "IRpcSession", "RemoteConfig", "create_rpc_server"]
