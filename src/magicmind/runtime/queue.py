"""Asynchronous calls: a queue runs them one after the other in a thread of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from magicmind.errors import Error

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[[Mapping[str, Array], Mapping[str, Array] | None], dict[str, Array]]


class Queue:
    """Calls of one context in the order of submission. Made by `Context.queue()`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._closed = False

    def submit(self, feeds: Mapping[str, Array], out: Mapping[str, Array] | None = None) -> Future[dict[str, Array]]:
        """A future of the outputs. The arrays must not change before it is done. Raises Error on a closed queue."""
        if self._pid != os.getpid():
            # The thread stayed with the parent process, and so did what it was given.
            self._pid, self._lock, self._executor = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._closed:
                raise Error("the queue is closed", hint="make another context with engine.context()")
            if self._executor is None:
                self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="magicmind-queue")
            return self._executor.submit(self._run, feeds, out)

    def close(self) -> None:
        """Runs what was submitted to its end, then refuses more."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None and self._pid == os.getpid():
            executor.shutdown(wait=True)
