"""An engine: a model's program with a number of threads. Many contexts in many threads share one."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from magicmind.errors import Error
from magicmind.runtime import team
from magicmind.runtime.context import Context
from magicmind.runtime.host_context import HostContext
from magicmind.runtime.program import Program

if TYPE_CHECKING:
    from magicmind.runtime.model import Model


class Engine:
    """Made by `Model.engine()`. `threads` is what a call may use: never more than the process is allowed."""

    def __init__(self, model: Model, program: Program, threads: int | None) -> None:
        self.model = model
        self.program = program
        self.threads = team.bounded(threads)
        if program.prepared is not None:
            program.prepared.make(self.threads)
        self._contexts: weakref.WeakSet[Context] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    def context(self) -> Context:
        """A new context: memory for one call at a time. Raises Error once the engine is closed."""
        with self._lock:
            if self._closed:
                raise Error("the engine is closed", hint="make another one with model.engine()")
            context = Context(self) if self.program.routine is None else HostContext(self)
            self._contexts.add(context)
            return context

    def close(self) -> None:
        """Closes all its contexts; waits for calls in progress."""
        with self._lock:
            self._closed = True
            contexts = list(self._contexts)
        for context in contexts:
            context.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
