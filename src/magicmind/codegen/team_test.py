"""The team and the barrier as native code: many barriers, a team in use, floating-point control."""

from __future__ import annotations

import ctypes
import platform
import threading

import numpy as np
import pytest

from magicmind.codegen.link import link
from magicmind.codegen.target import TARGETS, Target
from magicmind.codegen.team import compile_barrier, compile_team, emit_barrier_module, emit_team_module
from magicmind.modelfile import abi
from magicmind.modelfile.reader import Mapping, map_code
from magicmind.runtime import team
from magicmind.testing.handmade import assemble, machine_target

HERE = machine_target()

# Context word 10: a counter; 11: number of rounds; 12: errors. Every round all threads add 1, meet, look, meet.
ROUNDS = """
declare hidden void @mm_barrier(ptr)
define hidden void @mm_program(ptr %ctx, i64 %tid) {
entry:
  %threads.ptr = getelementptr i64, ptr %ctx, i64 2
  %threads = load i64, ptr %threads.ptr
  %counter = getelementptr i64, ptr %ctx, i64 10
  %rounds.ptr = getelementptr i64, ptr %ctx, i64 11
  %rounds = load i64, ptr %rounds.ptr
  %errors = getelementptr i64, ptr %ctx, i64 12
  br label %round
round:
  %r = phi i64 [ 1, %entry ], [ %next, %same ]
  %old = atomicrmw add ptr %counter, i64 1 monotonic
  call void @mm_barrier(ptr %ctx)
  %seen = load atomic i64, ptr %counter monotonic, align 8
  %want = mul i64 %r, %threads
  %wrong = icmp ne i64 %seen, %want
  %error = zext i1 %wrong to i64
  %olds = atomicrmw add ptr %errors, i64 %error monotonic
  call void @mm_barrier(ptr %ctx)
  br label %same
same:
  %next = add i64 %r, 1
  %more = icmp sle i64 %next, %rounds
  br i1 %more, label %round, label %done
done:
  ret void
}
"""

CONTROL = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define hidden void @mm_program(ptr %ctx, i64 %tid) {
  %base = getelementptr i64, ptr %ctx, i64 10
  %at = getelementptr i64, ptr %base, i64 %tid
  call void @llvm.x86.sse.stmxcsr(ptr %at)
  ret void
}
define hidden void @get(ptr %p) {
  call void @llvm.x86.sse.stmxcsr(ptr %p)
  ret void
}
define hidden void @set(ptr %p) {
  call void @llvm.x86.sse.ldmxcsr(ptr %p)
  ret void
}
"""


class Block:
    """A context with its barrier memory."""

    def __init__(self) -> None:
        self.memory = np.zeros(1024, np.int64)
        start = -(-self.memory.ctypes.data // 64) * 64
        self.words = self.memory[(start - self.memory.ctypes.data) // 8 :]
        self.barrier = self.words[64:]
        self.address = start
        self.words[abi.CTX_BARRIER] = start + 512
        self.words[abi.CTX_CLOCK] = team.CLOCK_ADDRESS
        self.words[abi.CTX_SYSCALL] = team.SYSCALL_ADDRESS


@pytest.fixture(scope="module")
def call() -> team.TeamCall:
    blob = link([compile_team(HERE)], [abi.TEAM_CALL_SYMBOL, abi.TEAM_WORKER_SYMBOL])
    team.adopt(memoryview(blob.data), abi.TEAM_VERSION, dict(blob.symbols))
    return team.caller()


def mapped(*objects: bytes, exports: tuple[str, ...] = (abi.PROGRAM_SYMBOL,)) -> tuple[Mapping, dict[str, int]]:
    blob = link(objects, exports)
    mapping = map_code(memoryview(blob.data))
    return mapping, {name: mapping.address + offset for name, offset in blob.symbols.items()}


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_nobody_passes_a_barrier_early(call: team.TeamCall, threads: int) -> None:
    code, entries = mapped(assemble(ROUNDS, HERE), compile_barrier(HERE))
    block = Block()
    rounds = 2000 if threads <= 2 else 200  # more threads than CPUs here: they sleep and wake
    block.words[11] = rounds
    assert call(team.address(threads), entries[abi.PROGRAM_SYMBOL], block.address, threads) == threads
    assert block.words[12] == 0
    assert block.words[10] == rounds * threads
    assert block.barrier[0] == 0 and block.barrier[16] == 0  # ready for the next call: nobody counted, nobody asleep
    code.close()


def test_a_busy_team_is_not_waited_for(call: team.TeamCall) -> None:
    code, entries = mapped(assemble(ROUNDS, HERE), compile_barrier(HERE))
    used = []

    def work() -> None:
        block = Block()
        block.words[11] = 3000
        count = call(team.address(2), entries[abi.PROGRAM_SYMBOL], block.address, 2)
        used.append((count, int(block.words[12]), int(block.words[10])))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(errors == 0 and counter == count * 3000 for count, errors, counter in used)
    assert {count for count, _, _ in used} <= {1, 2}
    code.close()


def test_no_team_and_one_thread_run_alone(call: team.TeamCall) -> None:
    code, entries = mapped(assemble(ROUNDS, HERE), compile_barrier(HERE))
    for address, threads in ((None, 8), (team.address(2), 1), (team.address(2), 0)):
        block = Block()
        block.words[11] = 5
        assert call(address, entries[abi.PROGRAM_SYMBOL], block.address, threads) == 1
        assert block.words[abi.CTX_THREADS] == 1
        assert block.words[10] == 5
    code.close()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads MXCSR")
def test_floating_point_control_is_the_same_everywhere_and_restored(call: team.TeamCall) -> None:
    code, entries = mapped(assemble(CONTROL, HERE), exports=(abi.PROGRAM_SYMBOL, "get", "set"))
    get, put = (ctypes.CFUNCTYPE(None, ctypes.c_void_p)(entries[name]) for name in ("get", "set"))
    state = (ctypes.c_uint * 4)()
    get(ctypes.addressof(state))
    before = state[0]
    strange = 0x1F80 | 0x6000  # denormals kept, round towards zero
    try:
        state[0] = strange
        put(ctypes.addressof(state))
        block = Block()
        assert call(team.address(2), entries[abi.PROGRAM_SYMBOL], block.address, 2) == 2
        assert [int(word) & 0xFFC0 for word in block.words[10:12]] == [0x9FC0, 0x9FC0]
        get(ctypes.addressof(state))
        assert state[0] == strange
    finally:
        state[0] = before
        put(ctypes.addressof(state))
    code.close()


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_every_target_links_without_external_symbols(target: Target) -> None:
    assert link([compile_team(target)], [abi.TEAM_CALL_SYMBOL]).data
    assert link([compile_barrier(target)], [abi.BARRIER_SYMBOL]).data


def test_the_texts_differ_only_in_the_machine_table() -> None:
    a64 = emit_team_module(TARGETS["aarch64"]) + emit_barrier_module(TARGETS["aarch64"])
    assert "x86" not in a64
    assert "i64 98, ptr" in a64
