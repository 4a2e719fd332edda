"""The process's thread team: native threads shared by all models, grown on demand up to a hard bound, never ended.

The team's code and memory must outlive every model and even the interpreter, whose threads may still spin while it
shuts down: both are mapped by libc and never given back (a few pages per process).
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import signal
import threading
from collections.abc import Callable
from typing import Final

from magicmind.errors import Error
from magicmind.modelfile import abi
from magicmind.modelfile.reader import memory_file
from magicmind.runtime.limits import thread_limit

_log = logging.getLogger("magicmind.runtime")

MAX_THREADS: Final = 1024
"""Slots in the team's memory, however many CPUs there are."""

_STACK_BYTES = 1 << 20  # kernels keep their tiles in registers and in scratch memory that the run time gives them

TeamCall = Callable[[int | None, int, int, int], int]
"""(team address or None, function, ctx, threads) -> threads that took part; the GIL is released meanwhile."""

_TEAM_CALL_TYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip


def libc_address(name: str) -> int:
    """Address of a function of libc, for native code."""
    address = ctypes.cast(getattr(_libc, name), ctypes.c_void_p).value
    assert address is not None
    return address


SYSCALL_ADDRESS: Final = libc_address("syscall")
CLOCK_ADDRESS: Final = libc_address("clock_gettime")


class Team:
    """Memory and threads of one process (never shared across fork)."""

    def __init__(self) -> None:
        size = abi.team_bytes(MAX_THREADS)
        self.address = _map_forever(size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
        self._memory = memoryview((ctypes.c_char * size).from_address(self.address)).cast("B").cast("q")
        self._memory[abi.TEAM_SYSCALL // 8] = SYSCALL_ADDRESS
        self._memory[abi.TEAM_CLOCK // 8] = CLOCK_ADDRESS
        self._memory[abi.TEAM_SIZE // 8] = 1
        self.size = 1

    def grow(self, threads: int, worker: int) -> None:
        """Starts workers until `threads` can take part. `worker` is the address of mm_team_worker."""
        while self.size < min(threads, MAX_THREADS):
            slot = abi.TEAM_HEAD_BYTES + self.size * abi.SLOT_BYTES
            self._memory[(slot + abi.SLOT_TEAM) // 8] = self.address
            self._memory[(slot + abi.SLOT_INDEX) // 8] = self.size
            if not _start_thread(worker, self.address + slot):
                _log.warning("cannot start more than %d threads", self.size)
                return
            self.size += 1
            # Only now may a call count on the new worker. x86 and AArch64 store 64 aligned bits at once.
            self._memory[abi.TEAM_SIZE // 8] = self.size


class _Code:
    """The newest team blob met, mapped for the life of the process."""

    def __init__(self, data: memoryview, version: int, entries: dict[str, int]) -> None:
        fd = memory_file("magicmind-team")
        try:
            os.truncate(fd, len(data))
            os.pwrite(fd, data, 0)
            address = _map_forever(len(data), mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, fd)
        finally:
            os.close(fd)
        self.version = version
        self.worker = address + entries[abi.TEAM_WORKER_SYMBOL]
        self.call: TeamCall = _TEAM_CALL_TYPE(address + entries[abi.TEAM_CALL_SYMBOL])


_lock = threading.Lock()
_code: _Code | None = None
_team: Team | None = None


def adopt(data: memoryview, version: int, entries: dict[str, int]) -> None:
    """Offers a model's team blob (of our TEAM_ABI). The process keeps a copy if it is newer than what it has."""
    global _code
    with _lock:
        if _code is None or version > _code.version:
            _code = _Code(data, version, entries)


def caller() -> TeamCall:
    """mm_team_call of the newest blob."""
    assert _code is not None, "adopt() comes first"
    return _code.call


def address(threads: int) -> int | None:
    """The team's address once `threads` threads can take part (None: one thread needs no team)."""
    if threads < 2:
        return None
    team = _team
    if team is None or team.size < threads:
        team = _grow(threads)
    return team.address


def _grow(threads: int) -> Team:
    global _team
    with _lock:
        if _team is None:
            _team = Team()
        assert _code is not None, "adopt() comes first"
        _team.grow(threads, _code.worker)
        return _team


def bounded(threads: int | None) -> int:
    """The number of threads to use for a wish (None: as many as allowed). Raises Error for less than one."""
    if threads is not None and threads < 1:
        raise Error(f"threads={threads}: at least one thread is needed", hint="leave it out to use all allowed ones")
    limit = min(thread_limit(), MAX_THREADS)
    return limit if threads is None else min(threads, limit)


def _reset_after_fork() -> None:
    """A forked child has none of its parent's threads: it starts its own at the first call."""
    global _team, _lock
    _team = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_reset_after_fork)


def _map_forever(size: int, protection: int, flags: int, fd: int) -> int:
    result: int = _libc.mmap(None, size, protection, flags, fd, 0)
    if result == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise Error(f"cannot map {size} bytes for the thread team: {os.strerror(code)}")
    return result


def _start_thread(function: int, argument: int) -> bool:
    """Starts a detached native thread with all signals blocked, so that they reach Python's threads."""
    attributes = (ctypes.c_char * 128)()  # pthread_attr_t: 56 bytes on x86-64, 64 on AArch64
    thread = ctypes.c_ulong()
    _libc.pthread_attr_init(attributes)
    _libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(_STACK_BYTES))
    _libc.pthread_attr_setdetachstate(attributes, ctypes.c_int(1))  # PTHREAD_CREATE_DETACHED
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        result: int = _libc.pthread_create(
            ctypes.byref(thread), attributes, ctypes.c_void_p(function), ctypes.c_void_p(argument)
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _libc.pthread_attr_destroy(attributes)
    return result == 0
