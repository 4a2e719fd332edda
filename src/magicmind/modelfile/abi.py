"""The native interface, in numbers: words of the context, memory of the barrier and of the thread team.

Written once, because generated code and the run time must agree byte for byte (docs/design/0001-architecture.md).
"""

from __future__ import annotations

from typing import Final

TEAM_ABI: Final = 1
"""Layout of the team's memory and what its words mean. Blobs of another number are not used together."""

TEAM_VERSION: Final = 1
"""Of two team blobs with the same TEAM_ABI, the process uses the one with the higher version."""

PLUGIN: Final = "plugin:"
"""Begins the names of host functions that users bring; `domain.Name` follows."""

PROGRAM_SYMBOL: Final = "mm_program"
PREPARE_SYMBOL: Final = "mm_prepare"
"""Of models whose plan has `prepare`: called once, before the first call of the program."""
TEAM_CALL_SYMBOL: Final = "mm_team_call"
TEAM_WORKER_SYMBOL: Final = "mm_team_worker"
BARRIER_SYMBOL: Final = "mm_barrier"

# Words of the context (64 bits each).
CTX_SLOTS: Final = 0
CTX_DIMS: Final = 1
CTX_THREADS: Final = 2
CTX_BARRIER: Final = 3
CTX_STOP: Final = 4
CTX_PROFILE: Final = 5
CTX_CLOCK: Final = 6
CTX_SCRATCH: Final = 7
CTX_SCRATCH_BYTES: Final = 8
CTX_SYSCALL: Final = 9
CTX_SEGMENT: Final = 10
CTX_WORDS: Final = 16

# Barrier memory: three 32-bit words, each on a cache line of its own.
BARRIER_BYTES: Final = 256
BARRIER_ARRIVED: Final = 0
BARRIER_PHASE: Final = 64
BARRIER_SLEEPERS: Final = 128

# Team memory: a head, then one slot per thread (slot 0 is the caller's and stays unused). Offsets in bytes.
TEAM_BUSY: Final = 0  # i32: a call is running
TEAM_REMAINING: Final = 64  # i32, futex: workers that have not finished the call
TEAM_CALLER_SLEEPS: Final = 128  # i32
TEAM_FUNCTION: Final = 192  # ptr, then ptr ctx, then i64 threads: the call at hand
TEAM_CTX: Final = 200
TEAM_THREADS: Final = 208
TEAM_SIZE: Final = 256  # i64: threads available, the caller included
TEAM_SYSCALL: Final = 264  # ptr
TEAM_CLOCK: Final = 272  # ptr
TEAM_HEAD_BYTES: Final = 512
SLOT_BYTES: Final = 128
SLOT_JOB: Final = 0  # i32, futex: number of jobs ever posted
SLOT_SLEEPS: Final = 4  # i32
SLOT_TEAM: Final = 64  # ptr
SLOT_INDEX: Final = 72  # i64


def team_bytes(threads: int) -> int:
    """Bytes of team memory for at most `threads` threads."""
    return TEAM_HEAD_BYTES + threads * SLOT_BYTES
