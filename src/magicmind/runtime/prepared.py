"""What a model makes of its weights once, before its first call: memory that all of its engines read."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

from magicmind.modelfile import abi
from magicmind.runtime import team
from magicmind.runtime.interruptible import call_interruptibly
from magicmind.runtime.memory import Memory, pages

_CTX_OFFSET = abi.BARRIER_BYTES  # the control block: barrier memory, context words, slots


class Prepared:
    """Address space from the start, contents once `make` has run.

    `plan`: the plan's `prepare`; `entry`: address of its native program; `weights`, `limit`: the weights, their bytes.
    """

    def __init__(self, plan: Mapping[str, Any], entry: int, weights: int, limit: int) -> None:
        """Raises KeyError, ValueError and the like for a damaged plan."""
        self.steps: list[dict[str, Any]] = plan["steps"]
        self.size = int(plan["bytes"])
        self._scratch_bytes = pages(int(plan["scratch"]))
        self._entry = entry
        self._memory = Memory(pages(self.size))
        self.address = self._memory.address
        regions = {"weight": (weights, limit), "prepared": (self.address, self.size)}
        self._slots = [slot_address(slot, regions) for slot in plan["slots"]]
        self._lock = threading.Lock()
        self.ns: int | None = None
        """How long making it took; None before."""
        _all.add(self)

    def make(self, threads: int) -> None:
        """Runs the preparation, once however often it is called. Interrupted, the next call begins anew."""
        with self._lock:
            if self.ns is None:
                self.ns = self._run(threads)

    def _run(self, threads: int) -> int:
        start = time.perf_counter_ns()
        control = Memory(pages(_CTX_OFFSET + 8 * (abi.CTX_WORDS + len(self._slots))) + threads * self._scratch_bytes)
        words, ctx, slots = control.words, _CTX_OFFSET // 8, _CTX_OFFSET // 8 + abi.CTX_WORDS
        for word, value in (
            (abi.CTX_SLOTS, control.address + 8 * slots),
            (abi.CTX_BARRIER, control.address),
            (abi.CTX_CLOCK, team.CLOCK_ADDRESS),
            (abi.CTX_SYSCALL, team.SYSCALL_ADDRESS),
            (abi.CTX_SCRATCH, control.address + control.size - threads * self._scratch_bytes),
            (abi.CTX_SCRATCH_BYTES, self._scratch_bytes),
        ):
            words[ctx + word] = value
        for i, address in enumerate(self._slots):
            words[slots + i] = address

        def call() -> None:
            team.caller()(team.address(threads), self._entry, control.address + _CTX_OFFSET, threads)

        def stop(on: bool) -> None:
            words[ctx + abi.CTX_STOP] = int(on)

        try:
            if threading.current_thread() is threading.main_thread():
                call_interruptibly(call, stop)
            else:
                call()
        finally:
            control.close()
        return time.perf_counter_ns() - start

    def close(self) -> None:
        """Gives the memory back. No call may be running."""
        self._memory.close()


def slot_address(slot: Mapping[str, Any], regions: Mapping[str, tuple[int, int]]) -> int:
    """The address of a slot in memory that does not move; `regions` are (address, bytes) by kind. Raises ValueError."""
    base, size = regions[slot["kind"]]
    offset = int(slot["offset"])
    if not 0 <= offset <= size:
        raise ValueError(f"the offset of a {slot['kind']} slot")
    return base + offset


_all: weakref.WeakSet[Prepared] = weakref.WeakSet()


def _reset_after_fork() -> None:
    """A lock held by another thread at the time of fork would never be released in the child."""
    for prepared in list(_all):
        prepared._lock = threading.Lock()


os.register_at_fork(after_in_child=_reset_after_fork)
