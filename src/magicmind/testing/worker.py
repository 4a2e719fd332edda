"""A process that runs one job after the other, so that a crash or a hang costs that job alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess


@dataclass(frozen=True)
class Verdict:
    """How a job ended ("passed", "failed", "unsupported", "crashed", "timeout", ...) and why."""

    status: str
    reason: str = ""


class Worker:
    """Runs `function(job)` in another process, which is replaced when it dies or takes longer than `limit` seconds.

    The process is a fork of this one: what is loaded already is shared.
    """

    def __init__(self, function: Callable[[str], Verdict], limit: float) -> None:
        self._function = function
        self._limit = limit
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def run(self, job: str) -> Verdict:
        """The function's verdict on the job, or "crashed" or "timeout"."""
        if self._process is None:
            self._start()
        assert self._connection is not None and self._process is not None
        self._connection.send(job)
        if not self._connection.poll(self._limit):
            self.stop()
            return Verdict("timeout", f"no result after {self._limit:.0f} s")
        try:
            status, reason = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            self.stop()
            return Verdict("crashed", f"the process ended with code {code}")
        return Verdict(status, reason)

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._function), daemon=True)
        self._process.start()
        theirs.close()

    def stop(self) -> None:
        """Ends the process; the next `run` starts another."""
        if self._process is not None and self._connection is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._process = self._connection = None


def _serve(connection: Connection, function: Callable[[str], Verdict]) -> None:
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        verdict = function(job)
        connection.send((verdict.status, verdict.reason))
