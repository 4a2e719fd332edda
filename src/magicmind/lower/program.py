"""The network's main function: every step in order, a barrier where data crosses threads.

`void mm_program(ptr ctx, i64 tid)` runs on every thread of the team; the words of `ctx` are listed in
docs/design/0001-architecture.md, "Native interface".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from magicmind.codegen import ir
from magicmind.codegen.target import Target
from magicmind.codegen.values import I8, I32, I64, PTR
from magicmind.ir.dims import Dim
from magicmind.lower.plan import HostStep, Ref, Step
from magicmind.modelfile.abi import CTX_SEGMENT, PREPARE_SYMBOL, PROGRAM_SYMBOL

ENTRY = PROGRAM_SYMBOL
PREPARE_ENTRY = PREPARE_SYMBOL
_SLOTS, _DIMS, _THREADS, _STOP, _PROFILE, _CLOCK, _SCRATCH, _SCRATCH_BYTES = 0, 1, 2, 4, 5, 6, 7, 8
_CLOCK_MONOTONIC = 1


@dataclass
class Tables:
    """The pointer table and the table of run-time sizes, each entry once."""

    slots: list[Ref] = field(default_factory=list)
    dims: list[Dim] = field(default_factory=list)

    @classmethod
    def collect(cls, steps: Sequence[Step | HostStep]) -> Tables:
        slots = dict.fromkeys(ref for step in steps for ref in step.refs)
        native = [step for step in steps if isinstance(step, Step)]
        repeats = [step.repeat for step in native if step.repeat is not None]
        dims = dict.fromkeys([*(dim for step in native for dim in step.params), *repeats])
        return cls(list(slots), list(dims))


class _Program:
    def __init__(self, entry: str, target: Target) -> None:
        self.module = ir.Module(entry)
        self.module.triple = target.triple
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [PTR, I64]), entry)
        self.ctx, self.tid = self.function.args
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.time = self.b.alloca(ir.ArrayType(I64, 2), "timespec")
        self.barrier = self.declare("mm_barrier", [PTR])

    def declare(self, name: str, args: Sequence[ir.Type]) -> ir.Function:
        known = self.module.globals.get(name)
        if known is not None:
            return known
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), args), name)
        function.attributes.add("nounwind")
        return function

    def word(self, index: int, kind: ir.Type) -> ir.Value:
        return self.load(self.ctx, index, kind)

    def load(self, table: ir.Value, index: int, kind: ir.Type) -> ir.Value:
        address = self.b.gep(table, ir.Constant(I64, index), I64)
        return self.b.load(address, kind)

    def kernel(self, symbol: str, args: Sequence[ir.Value]) -> None:
        """Calls a kernel, unless the call was told to stop."""
        function = self.declare(symbol, [a.type for a in args])
        go = self.b.icmp_unsigned("==", self.word(_STOP, I64), ir.Constant(I64, 0))
        with self.b.if_then(go, likely=True):
            self.b.call(function, args)

    @contextmanager
    def repeated(self, count: ir.Value) -> Iterator[ir.Value]:
        """A loop over 0..count on every thread, with a barrier between one turn and the next."""
        b, f = self.b, self.function
        before = b.block
        head, body, done = (f.append_basic_block(f"turn.{part}") for part in ("head", "body", "done"))
        b.branch(head)
        b.position_at_end(head)
        turn = b.phi(I64, "turn")
        turn.add_incoming(ir.Constant(I64, 0), before)
        b.cbranch(b.icmp_signed("<", turn, count), body, done)
        b.position_at_end(body)
        with b.if_then(b.icmp_signed(">", turn, ir.Constant(I64, 0)), likely=True):
            b.call(self.barrier, [self.ctx])
        yield turn
        turn.add_incoming(b.add(turn, ir.Constant(I64, 1)), b.block)
        b.branch(head)
        b.position_at_end(done)

    def stamp(self, profile: ir.Value, index: int) -> None:
        """profile[index] = monotonic nanoseconds, by thread 0 when profiling."""
        b = self.b
        on = b.icmp_unsigned("!=", b.ptrtoint(profile, I64), ir.Constant(I64, 0))
        first = b.icmp_unsigned("==", self.tid, ir.Constant(I64, 0))
        with b.if_then(b.and_(on, first), likely=False):
            clock, kind = self.word(_CLOCK, PTR), ir.FunctionType(I32, [I32, PTR])
            b.call(clock, [ir.Constant(I32, _CLOCK_MONOTONIC), self.time], kind)
            seconds, nanos = self.load(self.time, 0, I64), self.load(self.time, 1, I64)
            total = b.add(b.mul(seconds, ir.Constant(I64, 1_000_000_000)), nanos)
            b.store(total, b.gep(profile, ir.Constant(I64, index), I64))


def emit_program(
    steps: Sequence[Step | HostStep],
    symbols: Sequence[str],
    epochs: Sequence[int],
    tables: Tables,
    target: Target,
    entry: str = ENTRY,
) -> ir.Module:
    """`symbols[i]` is the function of `steps[i]`; steps of one epoch run without a barrier between them.

    Where host steps cut the program into segments, a call runs the one that a word of the context names.
    """
    p = _Program(entry, target)
    at = _Addresses(p, tables)
    if not any(isinstance(step, HostStep) for step in steps):
        _emit_segment(p, at, steps, symbols, epochs, range(len(steps)))
        return p.module
    none = p.function.append_basic_block("none")
    switch = p.b.switch(p.word(CTX_SEGMENT, I64), none)
    p.b.position_at_end(none)
    p.b.ret_void()
    for i, members in enumerate(_segments(steps)):
        block = p.function.append_basic_block(f"segment.{i}")
        switch.add_case(ir.Constant(I64, i), block)
        p.b.position_at_end(block)
        _emit_segment(p, at, steps, symbols, epochs, members)
    return p.module


def _segments(steps: Sequence[Step | HostStep]) -> list[list[int]]:
    """The numbers of the native steps, cut where host steps stand between."""
    segments: list[list[int]] = []
    for i, step in enumerate(steps):
        if isinstance(step, HostStep):
            continue
        if i and isinstance(steps[i - 1], Step):
            segments[-1].append(i)
        else:
            segments.append([i])
    return segments


class _Addresses:
    """The context's tables, loaded at the program's entry."""

    def __init__(self, p: _Program, tables: Tables) -> None:
        self.slots, self.dims = p.word(_SLOTS, PTR), p.word(_DIMS, PTR)
        self.threads, self.profile = p.word(_THREADS, I64), p.word(_PROFILE, PTR)
        offset = p.b.mul(p.tid, p.word(_SCRATCH_BYTES, I64))
        self.scratch = p.b.gep(p.word(_SCRATCH, PTR), offset, I8)
        self.slot_of = {ref: i for i, ref in enumerate(tables.slots)}
        self.dim_of = {dim: i for i, dim in enumerate(tables.dims)}


def _emit_segment(
    p: _Program,
    at: _Addresses,
    steps: Sequence[Step | HostStep],
    symbols: Sequence[str],
    epochs: Sequence[int],
    members: Sequence[int],
) -> None:
    p.stamp(at.profile, members[0] if members else 0)
    for i in members:
        step = steps[i]
        assert isinstance(step, Step)
        if i != members[0] and epochs[i] != epochs[i - 1]:
            p.b.call(p.barrier, [p.ctx])
        args = [p.load(at.slots, at.slot_of[ref], PTR) for ref in step.refs]
        args += [p.load(at.dims, at.dim_of[dim], I64) for dim in step.params]
        last = [p.tid, at.threads, at.scratch]
        if step.repeat is None:
            p.kernel(symbols[i], [*args, *last])
        else:
            with p.repeated(p.load(at.dims, at.dim_of[step.repeat], I64)) as turn:
                p.kernel(symbols[i], [*args, turn, *last])
        p.stamp(at.profile, i + 1)
    p.b.call(p.barrier, [p.ctx])
    p.b.ret_void()
