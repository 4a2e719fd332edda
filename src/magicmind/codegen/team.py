"""LLVM IR of the two pieces of native code that are not kernels: the barrier and the thread team.

Neither refers to anything outside: libc's `syscall` and `clock_gettime` come in as pointers, memory too. The layout of
that memory is `magicmind.modelfile.abi`. Waiting is always the same: spin for a stated time, then sleep on a futex.

Floating-point control: every thread runs with round to nearest, all exceptions masked and denormals flushed to zero
(docs/design/0003-file-and-run-time.md says what they cost).
"""

from __future__ import annotations

import functools
from string import Template

from magicmind.codegen.llvm import compile_text
from magicmind.codegen.target import Target
from magicmind.modelfile import abi

BARRIER_SPIN_NS = 50_000
"""About what a futex wake-up costs on a virtual machine: spinning longer than that rarely pays."""

IDLE_SPIN_NS = 100_000
"""How long a worker stays awake after its last job; calls in a row from Python come about 10 us apart."""

_PAUSES_PER_CLOCK = 16  # a pause is 10 to 140 cycles, a clock read about 25 ns

_X86 = {
    "futex": 202,  # the number of the system call
    "declarations": """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)""",
    "pause": "call void @llvm.x86.sse2.pause()",
    "save_fp": "call void @llvm.x86.sse.stmxcsr(ptr %saved)",
    # 0x9FC0: exceptions masked, round to nearest, FTZ and DAZ on.
    "set_fp": "store i32 40896, ptr %wanted\n  call void @llvm.x86.sse.ldmxcsr(ptr %wanted)",
    "restore_fp": "call void @llvm.x86.sse.ldmxcsr(ptr %saved)",
}

_AARCH64 = {
    "futex": 98,
    "declarations": """
declare void @llvm.aarch64.hint(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)""",
    "pause": "call void @llvm.aarch64.hint(i32 1)",
    "save_fp": "%fpcr = call i64 @llvm.aarch64.get.fpcr()\n  store i64 %fpcr, ptr %saved",
    # FZ (bit 24) alone: traps off, round to nearest, flush to zero.
    "set_fp": "call void @llvm.aarch64.set.fpcr(i64 16777216)",
    "restore_fp": "%before = load i64, ptr %saved\n  call void @llvm.aarch64.set.fpcr(i64 %before)",
}

# mm_wait: returns once *word != old. Spins, then sleeps; *sleepers tells the other side that a wake-up is needed.
# The count of sleepers and the word are both sequentially consistent, so of "announce, look again" and "change, look
# for sleepers" at least one side sees the other.
_WAIT = """
$declarations

define internal void @mm_wait(ptr %word, i32 %old, ptr %sleepers, ptr %clock, ptr %syscall, i64 %limit) #0 {
entry:
  %time = alloca [2 x i64], align 8
  br label %spin
spin:
  %count = phi i32 [ 0, %entry ], [ %count.next, %again ], [ 0, %timed ]
  %start = phi i64 [ 0, %entry ], [ %start, %again ], [ %start.known, %timed ]
  %now = load atomic i32, ptr %word acquire, align 4
  %changed = icmp ne i32 %now, %old
  br i1 %changed, label %done, label %again.check
again.check:
  $pause
  %count.next = add i32 %count, 1
  %batch = icmp eq i32 %count.next, $pauses
  br i1 %batch, label %read.clock, label %again
again:
  br label %spin
read.clock:
  %clock.result = call i32 %clock(i32 1, ptr %time)
  %seconds = load i64, ptr %time
  %nanoseconds.ptr = getelementptr i8, ptr %time, i64 8
  %nanoseconds = load i64, ptr %nanoseconds.ptr
  %scaled = mul i64 %seconds, 1000000000
  %stamp = add i64 %scaled, %nanoseconds
  %first = icmp eq i64 %start, 0
  %start.known = select i1 %first, i64 %stamp, i64 %start
  %elapsed = sub i64 %stamp, %start.known
  %late = icmp ugt i64 %elapsed, %limit
  br i1 %late, label %sleep.entry, label %timed
timed:
  br label %spin
sleep.entry:
  %announced = atomicrmw add ptr %sleepers, i32 1 seq_cst
  br label %sleep
sleep:
  %seen = load atomic i32, ptr %word seq_cst, align 4
  %ready = icmp ne i32 %seen, %old
  br i1 %ready, label %awake, label %park
park:
  %wait.result = call i64 (i64, ...) %syscall(i64 $futex, ptr %word, i32 128, i32 %old, ptr null, ptr null, i32 0)
  br label %sleep
awake:
  %withdrawn = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  br label %done
done:
  ret void
}

define internal void @mm_wake(ptr %word, ptr %sleepers, ptr %syscall) #0 {
entry:
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %nobody = icmp eq i32 %asleep, 0
  br i1 %nobody, label %done, label %wake
wake:
  %result = call i64 (i64, ...) %syscall(i64 $futex, ptr %word, i32 129, i32 2147483647, ptr null, ptr null, i32 0)
  br label %done
done:
  ret void
}
"""

# The phase is read before arriving: it cannot advance until this thread has arrived. The last one to arrive resets the
# count before it advances the phase, so the memory is ready for the next barrier and the next call.
_BARRIER = """
define hidden void @$barrier(ptr %ctx) #0 {
entry:
  %threads.ptr = getelementptr i8, ptr %ctx, i64 $ctx_threads
  %threads = load i64, ptr %threads.ptr
  %alone = icmp ult i64 %threads, 2
  br i1 %alone, label %done, label %meet
meet:
  %memory.ptr = getelementptr i8, ptr %ctx, i64 $ctx_barrier
  %memory = load ptr, ptr %memory.ptr
  %arrived = getelementptr i8, ptr %memory, i64 $arrived
  %phase = getelementptr i8, ptr %memory, i64 $phase
  %sleepers = getelementptr i8, ptr %memory, i64 $sleepers
  %clock.ptr = getelementptr i8, ptr %ctx, i64 $ctx_clock
  %clock = load ptr, ptr %clock.ptr
  %syscall.ptr = getelementptr i8, ptr %ctx, i64 $ctx_syscall
  %syscall = load ptr, ptr %syscall.ptr
  %old = load atomic i32, ptr %phase acquire, align 4
  %before = atomicrmw add ptr %arrived, i32 1 acq_rel
  %count = add i32 %before, 1
  %all = trunc i64 %threads to i32
  %last = icmp eq i32 %count, %all
  br i1 %last, label %release, label %wait
release:
  store atomic i32 0, ptr %arrived monotonic, align 4
  %advanced = atomicrmw add ptr %phase, i32 1 seq_cst
  call void @mm_wake(ptr %phase, ptr %sleepers, ptr %syscall)
  br label %done
wait:
  call void @mm_wait(ptr %phase, i32 %old, ptr %sleepers, ptr %clock, ptr %syscall, i64 $barrier_spin)
  br label %done
done:
  ret void
}
"""

# Workers are woken as a binary tree (worker w posts to 2w+1 and 2w+2), so that starting a large team takes
# logarithmic time. A slot's job number only ever grows; a worker compares it with the last one it ran.
_TEAM = """
define internal void @mm_post(ptr %team, i64 %index, i64 %threads, ptr %syscall) #0 {
entry:
  %taking.part = icmp slt i64 %index, %threads
  br i1 %taking.part, label %post, label %done
post:
  %scaled = mul i64 %index, $slot_bytes
  %offset = add i64 %scaled, $head_bytes
  %slot = getelementptr i8, ptr %team, i64 %offset
  %sleeps = getelementptr i8, ptr %slot, i64 $slot_sleeps
  %before = atomicrmw add ptr %slot, i32 1 seq_cst
  call void @mm_wake(ptr %slot, ptr %sleeps, ptr %syscall)
  br label %done
done:
  ret void
}

define internal void @mm_post_children(ptr %team, i64 %index, i64 %threads, ptr %syscall) #0 {
  %twice = shl i64 %index, 1
  %left = add i64 %twice, 1
  %right = add i64 %twice, 2
  call void @mm_post(ptr %team, i64 %left, i64 %threads, ptr %syscall)
  call void @mm_post(ptr %team, i64 %right, i64 %threads, ptr %syscall)
  ret void
}

define hidden ptr @$worker(ptr %slot) #0 {
entry:
  %wanted = alloca i64, align 8
  %team.ptr = getelementptr i8, ptr %slot, i64 $slot_team
  %team = load ptr, ptr %team.ptr
  %index.ptr = getelementptr i8, ptr %slot, i64 $slot_index
  %index = load i64, ptr %index.ptr
  %sleeps = getelementptr i8, ptr %slot, i64 $slot_sleeps
  %clock.ptr = getelementptr i8, ptr %team, i64 $team_clock
  %clock = load ptr, ptr %clock.ptr
  %syscall.ptr = getelementptr i8, ptr %team, i64 $team_syscall
  %syscall = load ptr, ptr %syscall.ptr
  %function.ptr = getelementptr i8, ptr %team, i64 $team_function
  %ctx.ptr = getelementptr i8, ptr %team, i64 $team_ctx
  %threads.ptr = getelementptr i8, ptr %team, i64 $team_threads
  %remaining = getelementptr i8, ptr %team, i64 $team_remaining
  %caller.sleeps = getelementptr i8, ptr %team, i64 $team_caller_sleeps
  br label %next
next:
  %job = phi i32 [ 0, %entry ], [ %job.next, %finished ]
  call void @mm_wait(ptr %slot, i32 %job, ptr %sleeps, ptr %clock, ptr %syscall, i64 $idle_spin)
  %job.next = add i32 %job, 1
  %function = load ptr, ptr %function.ptr
  %ctx = load ptr, ptr %ctx.ptr
  %threads = load i64, ptr %threads.ptr
  call void @mm_post_children(ptr %team, i64 %index, i64 %threads, ptr %syscall)
  $set_fp
  call void %function(ptr %ctx, i64 %index)
  %before = atomicrmw sub ptr %remaining, i32 1 seq_cst
  %last = icmp eq i32 %before, 1
  br i1 %last, label %tell, label %finished
tell:
  call void @mm_wake(ptr %remaining, ptr %caller.sleeps, ptr %syscall)
  br label %finished
finished:
  br label %next
}

define hidden i64 @$call(ptr %team, ptr %function, ptr %ctx, i64 %wanted.threads) #0 {
entry:
  %saved = alloca i64, align 8
  %wanted = alloca i64, align 8
  $save_fp
  $set_fp
  %ctx.threads.ptr = getelementptr i8, ptr %ctx, i64 $ctx_threads
  %no.team = icmp eq ptr %team, null
  %one = icmp slt i64 %wanted.threads, 2
  %alone.asked = or i1 %no.team, %one
  br i1 %alone.asked, label %alone, label %try
try:
  %size.ptr = getelementptr i8, ptr %team, i64 $team_size
  %size = load atomic i64, ptr %size.ptr acquire, align 8
  %fewer = icmp slt i64 %size, %wanted.threads
  %threads = select i1 %fewer, i64 %size, i64 %wanted.threads
  %too.small = icmp slt i64 %threads, 2
  br i1 %too.small, label %alone, label %take
take:
  %busy.ptr = getelementptr i8, ptr %team, i64 $team_busy
  %busy = atomicrmw xchg ptr %busy.ptr, i32 1 acquire
  %free = icmp eq i32 %busy, 0
  br i1 %free, label %together, label %alone
alone:
  store i64 1, ptr %ctx.threads.ptr
  call void %function(ptr %ctx, i64 0)
  br label %done
together:
  store i64 %threads, ptr %ctx.threads.ptr
  %syscall.ptr = getelementptr i8, ptr %team, i64 $team_syscall
  %syscall = load ptr, ptr %syscall.ptr
  %clock.ptr = getelementptr i8, ptr %team, i64 $team_clock
  %clock = load ptr, ptr %clock.ptr
  %function.ptr = getelementptr i8, ptr %team, i64 $team_function
  store ptr %function, ptr %function.ptr
  %ctx.ptr = getelementptr i8, ptr %team, i64 $team_ctx
  store ptr %ctx, ptr %ctx.ptr
  %threads.ptr = getelementptr i8, ptr %team, i64 $team_threads
  store i64 %threads, ptr %threads.ptr
  %remaining = getelementptr i8, ptr %team, i64 $team_remaining
  %workers = sub i64 %threads, 1
  %workers.32 = trunc i64 %workers to i32
  store atomic i32 %workers.32, ptr %remaining seq_cst, align 4
  call void @mm_post_children(ptr %team, i64 0, i64 %threads, ptr %syscall)
  call void %function(ptr %ctx, i64 0)
  %caller.sleeps = getelementptr i8, ptr %team, i64 $team_caller_sleeps
  br label %join
join:
  %left = load atomic i32, ptr %remaining seq_cst, align 4
  %joined = icmp eq i32 %left, 0
  br i1 %joined, label %release, label %wait
wait:
  call void @mm_wait(ptr %remaining, i32 %left, ptr %caller.sleeps, ptr %clock, ptr %syscall, i64 $barrier_spin)
  br label %join
release:
  store atomic i32 0, ptr %busy.ptr release, align 4
  br label %done
done:
  %used = phi i64 [ 1, %alone ], [ %threads, %release ]
  $restore_fp
  ret i64 %used
}
"""

_ATTRIBUTES = '\nattributes #0 = { nounwind "no-builtins" }\n'


def emit_barrier_module(target: Target) -> str:
    """IR text that defines `void mm_barrier(ptr ctx)`; linked into every model.

    All threads of the call (context word 2) meet; with one thread it returns at once.
    """
    return _render(_WAIT + _BARRIER + _ATTRIBUTES, target)


def emit_team_module(target: Target) -> str:
    """IR text of the team's blob.

    `ptr mm_team_worker(ptr slot)` is the body of a native thread and never returns.
    `i64 mm_team_call(ptr team, ptr function, ptr ctx, i64 threads)` runs `function(ctx, tid)` on up to `threads`
    threads, the caller being number 0, writes their count to context word 2 and returns it. With a null or busy team
    the caller runs alone. Floating-point control state is set for the call and restored.
    """
    return _render(_WAIT + _TEAM + _ATTRIBUTES, target)


@functools.cache
def compile_barrier(target: Target) -> bytes:
    """Object with `mm_barrier`; the same in every model for one target."""
    return _compile(emit_barrier_module(target), "barrier", target)


def compile_team(target: Target) -> bytes:
    """Object with `mm_team_call` and `mm_team_worker`; link it alone to get the team's blob."""
    return _compile(emit_team_module(target), "team", target)


def _render(text: str, target: Target) -> str:
    values = {
        **(_X86 if target.is_x86 else _AARCH64),
        "barrier": abi.BARRIER_SYMBOL,
        "worker": abi.TEAM_WORKER_SYMBOL,
        "call": abi.TEAM_CALL_SYMBOL,
        "pauses": _PAUSES_PER_CLOCK,
        "barrier_spin": BARRIER_SPIN_NS,
        "idle_spin": IDLE_SPIN_NS,
        "ctx_threads": 8 * abi.CTX_THREADS,
        "ctx_barrier": 8 * abi.CTX_BARRIER,
        "ctx_clock": 8 * abi.CTX_CLOCK,
        "ctx_syscall": 8 * abi.CTX_SYSCALL,
        "arrived": abi.BARRIER_ARRIVED,
        "phase": abi.BARRIER_PHASE,
        "sleepers": abi.BARRIER_SLEEPERS,
        "team_busy": abi.TEAM_BUSY,
        "team_remaining": abi.TEAM_REMAINING,
        "team_caller_sleeps": abi.TEAM_CALLER_SLEEPS,
        "team_function": abi.TEAM_FUNCTION,
        "team_ctx": abi.TEAM_CTX,
        "team_threads": abi.TEAM_THREADS,
        "team_size": abi.TEAM_SIZE,
        "team_syscall": abi.TEAM_SYSCALL,
        "team_clock": abi.TEAM_CLOCK,
        "head_bytes": abi.TEAM_HEAD_BYTES,
        "slot_bytes": abi.SLOT_BYTES,
        "slot_sleeps": abi.SLOT_SLEEPS,
        "slot_team": abi.SLOT_TEAM,
        "slot_index": abi.SLOT_INDEX,
    }
    return Template(text).substitute({name: str(value) for name, value in values.items()})


def _compile(text: str, name: str, target: Target) -> bytes:
    return compile_text(f'target triple = "{target.triple}"\n{text}', name, target, passes=False)
