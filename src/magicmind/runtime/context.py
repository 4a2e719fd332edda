"""One run at a time: the memory of a call and the call itself."""

from __future__ import annotations

import os
import threading
import time
import weakref
from array import array as array_of_words
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from magicmind.errors import Error
from magicmind.modelfile import abi
from magicmind.runtime import feeds as checks
from magicmind.runtime import team
from magicmind.runtime.interruptible import INTERRUPTIBLE_NS, call_interruptibly
from magicmind.runtime.memory import Memory, pages
from magicmind.runtime.program import Layout, Program
from magicmind.runtime.queue import Queue
from magicmind.runtime.watched import State, StepClock, Take, Watch

if TYPE_CHECKING:
    from magicmind.runtime.engine import Engine

Array = np.ndarray[Any, np.dtype[Any]]

_CTX_OFFSET = abi.BARRIER_BYTES  # the control block: barrier memory, context words, dims, slots, time stamps


class Context:
    """Memory for one call at a time: arena, pointer table, scratch. Calls made at the same time wait for one another.

    Made by `Engine.context()`. `close()` gives the memory back.
    """

    def __init__(self, engine: Engine) -> None:
        program: Program = engine.program
        self._engine = engine
        self._program = program
        self._threads = min(engine.threads, program.thread_bound)
        self._lock = threading.Lock()
        self._queue: Queue | None = None
        self._closed = False
        self._layout: Layout | None = None
        self._arena: Memory | None = None
        self._inputs = program.inputs
        dims = _CTX_OFFSET // 8 + abi.CTX_WORDS
        self._slots = dims + program.dim_count
        self._stamps = self._slots + program.slot_count
        self._control = Memory(pages(8 * (self._stamps + len(program.steps) + 1)))
        self._ctx = self._control.address + _CTX_OFFSET
        self._words = self._control.words
        self._dims = dims
        self._fill_constants()
        _contexts.add(self)

    def _fill_constants(self) -> None:
        base = self._control.address
        for word, value in (
            (abi.CTX_SLOTS, base + 8 * self._slots),
            (abi.CTX_DIMS, base + 8 * self._dims),
            (abi.CTX_BARRIER, base),
            (abi.CTX_CLOCK, team.CLOCK_ADDRESS),
            (abi.CTX_SYSCALL, team.SYSCALL_ADDRESS),
        ):
            self._words[_CTX_OFFSET // 8 + word] = value
        for slot, address in self._program.weight_slots:
            self._words[self._slots + slot] = address

    def run(self, feeds: Mapping[str, Array], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Runs the network. Fresh arrays by output name; those in `out` are written to and returned instead.

        Raises ShapeError or Error for inputs that do not fit, before anything runs.
        """
        with self._lock:
            return self._run(feeds, out)

    def profile(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], list[int]]:
        """Like `run`, with the time stamps (ns) that thread 0 took before each step and after the last one."""
        with self._lock:
            self._check_open()
            profile_word = _CTX_OFFSET // 8 + abi.CTX_PROFILE
            self._words[profile_word] = self._control.address + 8 * self._stamps
            try:
                outputs = self._run(feeds, None)
            finally:
                self._words[profile_word] = 0
            return outputs, self._words[self._stamps : self._stamps + len(self._program.steps) + 1].tolist()

    def watch(self, feeds: Mapping[str, Array], take: Take, only: Collection[str] | None = None) -> dict[str, Array]:
        """Like `run`, on one thread; hands every tensor inside the network to `take` when it is finished.

        `only`: those of these names. Raises OfflineModelError for a file that does not list them, Error for names that
        are not there, and what `take` raises.
        """
        with self._lock:
            self._check_open()
            watch = Watch(self._program.inner_tensors(), take, only)
            try:
                return self._watched(feeds, watch)
            finally:
                self._layout = None  # it was for one thread

    def _watched(self, feeds: Mapping[str, Array], watch: Watch) -> dict[str, Array]:
        clock = StepClock(lambda step: watch.ended(step, self._state()))
        words, word = self._words, _CTX_OFFSET // 8
        words[word + abi.CTX_CLOCK] = clock.address
        words[word + abi.CTX_PROFILE] = self._control.address + 8 * self._stamps
        threads, self._threads, self._layout = self._threads, 1, None
        try:
            outputs = self._run(feeds, None)
        finally:
            self._threads = threads
            words[word + abi.CTX_CLOCK], words[word + abi.CTX_PROFILE] = team.CLOCK_ADDRESS, 0
        clock.check()
        return outputs

    def _state(self) -> State:
        return State(lambda slot: self._words[self._slots + slot], self._program.shapes.values(self.layout.shapes))

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The plan's steps: node, op, kernel, epoch."""
        return self._program.steps

    @property
    def layout(self) -> Layout:
        """The plan of the last call."""
        if self._layout is None:
            raise Error("the context has not run yet", hint="call run first")
        return self._layout

    def queue(self) -> Queue:
        """The queue that runs submitted calls one after the other in a thread of its own."""
        self._check_open()
        if self._queue is None:
            self._queue = Queue(self.run)
        return self._queue

    def _run(self, feeds: Mapping[str, Array], out: Mapping[str, Array] | None) -> dict[str, Array]:
        self._check_open()
        if type(feeds) is not dict:
            checks.check_named(feeds)
        arrays: list[Array] = []
        shapes: list[tuple[int, ...]] = []
        for name, dtype in self._inputs:
            array = feeds.get(name)
            if type(array) is not np.ndarray or array.dtype != dtype or not _usable(array):
                array = checks.accept(name, dtype, feeds)
            arrays.append(array)
            shapes.append(array.shape)
        if len(feeds) != len(arrays):
            checks.refuse_unknown(feeds, [name for name, _ in self._inputs])
        key = tuple(shapes)
        layout = self._layout
        if layout is None or layout.shapes != key:
            layout = self._prepare(self._program.layout(key))
        outputs: list[Array]
        if out is None:
            outputs = [
                np.empty(shape, dtype)
                for (_, dtype), shape in zip(self._program.outputs, layout.output_shapes, strict=True)
            ]
        else:
            arrays, outputs = checks.outputs(self._program.outputs, layout.output_shapes, out, arrays)
        words, base = self._words, self._slots
        for slot, index, offset in layout.input_slots:
            words[base + slot] = arrays[index].__array_interface__["data"][0] + offset
        for slot, index, offset in layout.output_slots:
            words[base + slot] = outputs[index].__array_interface__["data"][0] + offset
        self._call(layout)
        return {name: array for (name, _), array in zip(self._program.outputs, outputs, strict=True)}

    def _prepare(self, layout: Layout) -> Layout:
        """Makes the context ready for a layout: memory, dims, arena addresses."""
        scratch = pages(layout.arena_bytes)  # from the arena's start
        size = scratch + self._threads * layout.scratch_bytes
        self._layout = None  # stays so if memory runs out below
        if self._arena is None or self._arena.size < size:
            if self._arena is not None:
                self._arena.close()
                self._arena = None
            self._arena = Memory(size)
        arena, words = self._arena.address, self._words
        words[self._dims : self._slots] = memoryview(array_of_words("q", layout.dims))
        for slot, offset in layout.arena_slots:
            words[self._slots + slot] = arena + offset
        words[_CTX_OFFSET // 8 + abi.CTX_SCRATCH] = arena + scratch
        words[_CTX_OFFSET // 8 + abi.CTX_SCRATCH_BYTES] = layout.scratch_bytes
        self._layout = layout
        return layout

    def _call(self, layout: Layout) -> None:
        expected = layout.last_ns
        start = time.perf_counter_ns()
        long = expected is None or expected > INTERRUPTIBLE_NS
        team_address = team.address(self._threads)
        if long and threading.current_thread() is threading.main_thread():
            call_interruptibly(
                lambda: team.caller()(team_address, self._program.entry, self._ctx, self._threads), self._stop
            )
        else:
            team.caller()(team_address, self._program.entry, self._ctx, self._threads)
        layout.last_ns = time.perf_counter_ns() - start

    def _stop(self, on: bool) -> None:
        self._words[_CTX_OFFSET // 8 + abi.CTX_STOP] = int(on)

    def _check_open(self) -> None:
        if self._closed:
            raise Error("the context is closed", hint="make another one with engine.context()")

    def close(self) -> None:
        """Waits for a running call, then gives the memory back. May be called more than once."""
        queue = self._queue
        if queue is not None:
            queue.close()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._layout = None
            if self._arena is not None:
                self._arena.close()
                self._arena = None
            self._words = memoryview(b"")
            self._control.close()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _usable(array: Array) -> bool:
    flags = array.flags
    return flags.c_contiguous and flags.aligned


_contexts: weakref.WeakSet[Context] = weakref.WeakSet()


def _reset_after_fork() -> None:
    """A lock held by another thread at the time of fork would never be released in the child."""
    for context in list(_contexts):
        context._lock = threading.Lock()


os.register_at_fork(after_in_child=_reset_after_fork)
