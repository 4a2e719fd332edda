"""Long native calls on a helper thread, so that Ctrl-C gets through."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

INTERRUPTIBLE_NS = 50_000_000
"""Calls expected to be longer run on a helper thread when made from the main thread, so that Ctrl-C gets through."""


def call_interruptibly(call: Callable[[], object], stop: Callable[[bool], None]) -> None:
    """Makes a native call on a helper thread; a signal that raises here stops it between kernels, by `stop`."""
    helper = _Helper(call)
    try:
        _thread.start_new_thread(helper.work, ())
        helper.ended.acquire()
    except BaseException:
        # Whatever a signal handler raises: the arrays are in use until the native call has ended.
        stop(True)
        helper.cancel()
        stop(False)
        raise


class _Helper:
    """A call made on another thread, such that an exception may strike the waiting thread between any two steps."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._claim = threading.Lock()  # whoever takes it decides whether the call is made
        self._done = False
        self.ended = threading.Lock()
        self.ended.acquire()

    def work(self) -> None:
        if self._claim.acquire(blocking=False):
            self._call()
            self._done = True
            self.ended.release()

    def cancel(self) -> None:
        """Returns once the call has ended or can no longer begin; further signals do not cut this short."""
        while True:
            try:
                if self._claim.acquire(blocking=False):
                    return
                while not self._done:
                    self.ended.acquire(timeout=0.05)
                return
            except KeyboardInterrupt:
                continue  # it is being stopped already
