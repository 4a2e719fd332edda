"""Loads and runs offline models. Needs numpy only; never compiles."""

from magicmind.runtime.context import Context
from magicmind.runtime.engine import Engine
from magicmind.runtime.model import Model, describe, from_bytes, from_parts, load
from magicmind.runtime.queue import Queue
from magicmind.runtime.session import Session

__all__ = ["Context", "Engine", "Model", "Queue", "Session", "describe", "from_bytes", "from_parts", "load"]
