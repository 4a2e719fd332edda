"""Where a server is: `host`, `host:port` or `[v6]:port`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from magicmind.errors import Error

PORT = 8008
"""Of addresses that name none."""
_FORM = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Address:
    """`str()` is what gRPC takes."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises Error for a text that is no address."""
        match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
        port = int(match["port"] or PORT) if match else 0
        if match is None or port > 65535:
            raise Error(f"{text!r:.80} is no address of a remote server", hint="host:port, for example 10.0.0.7:8008")
        return cls(match["v6"] or match["host"], port)

    @property
    def loopback(self) -> bool:
        """Whether it cannot be reached from another machine. Names other than `localhost` are taken as if it could."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
