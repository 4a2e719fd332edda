"""One call of a routine at a time: native segments and host steps in order, with the memory they share."""

from __future__ import annotations

import ctypes
import time
from array import array as array_of_words
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from magicmind.dtypes import from_codes, numpy_dtype
from magicmind.errors import Error
from magicmind.modelfile import abi
from magicmind.runtime import team
from magicmind.runtime.host import HostCall
from magicmind.runtime.memory import Memory, pages
from magicmind.runtime.routine import HostStep, Routine, Segment
from magicmind.runtime.stages import Sizes
from magicmind.runtime.watched import State, StepClock, Watch

Array = np.ndarray[Any, np.dtype[Any]]
Native = Callable[[Callable[[], object], int], None]
"""Makes a native call; the number is how long (ns) it took last time, -1 when it was not made yet."""

_CTX_OFFSET = abi.BARRIER_BYTES


class Frame:
    """Memory of a routine's calls: control block, one arena per stage, scratch, frames of the nested graphs."""

    def __init__(self, routine: Routine, threads: int, native: Native) -> None:
        self._routine, self._threads, self._native = routine, threads, native
        self._dims = _CTX_OFFSET // 8 + abi.CTX_WORDS
        self._slots = self._dims + len(routine.plan["dims"])
        self._stamps = self._slots + len(routine.slots)
        self._control = Memory(pages(8 * (self._stamps + len(routine.steps) + 1)))
        self._ctx = self._control.address + _CTX_OFFSET
        self._words = self._control.words
        self._arenas: dict[int, Memory] = {}
        self._scratch: Memory | None = None
        self._buffers: dict[int, int] = {}  # address of each buffer
        self._bodies: dict[int, Frame] = {}
        self._last_ns: dict[int, int] = {}
        self._clock: StepClock | None = None  # while a call is watched
        self._watch: Watch | None = None
        base = self._control.address
        for word, value in (
            (abi.CTX_SLOTS, base + 8 * self._slots),
            (abi.CTX_DIMS, base + 8 * self._dims),
            (abi.CTX_BARRIER, base),
            (abi.CTX_CLOCK, team.CLOCK_ADDRESS),
            (abi.CTX_SYSCALL, team.SYSCALL_ADDRESS),
        ):
            self._words[_CTX_OFFSET // 8 + word] = value
        for slot, address in routine.weight_slots:
            self._words[self._slots + slot] = address
        self._begin([], {})

    def _begin(self, arrays: Sequence[Any], values: dict[str, int]) -> None:
        """Forgets the call before and takes the inputs of the next."""
        self._inputs, self._values = arrays, values
        self._outputs: list[Any] = [None] * len(self._routine.outputs)
        self._objects: list[Any] = [None] * self._routine.object_count
        self._offsets: dict[int, int] = {}
        self._buffers.clear()
        self._operands: dict[tuple[int, int], tuple[int, ...]] = {}
        self.flops: dict[int, int] = {}
        self.bytes: dict[int, int] = {}

    def run(self, arrays: Sequence[Any], given: Mapping[str, int], profile: bool = False) -> list[Any]:
        """The outputs for these inputs (contiguous, of the plan's dtypes). `given`: symbols known from outside.

        Raises ShapeError for shapes that do not fit, and what host functions raise, with the node's name.
        """
        routine = self._routine
        self._begin(arrays, routine.bind(arrays, given))
        self._words[_CTX_OFFSET // 8 + abi.CTX_PROFILE] = self._control.address + 8 * self._stamps if profile else 0
        try:
            for spec, array in zip(routine.inputs, arrays, strict=True):
                if "object" in spec:
                    self._objects[spec["object"]] = array
            self._enter(0)
            self._words[self._stamps] = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            for item in routine.schedule:
                if isinstance(item, Segment):
                    if self._clock is not None:
                        self._clock.begin(item.first)
                    self._run_native(item)
                else:
                    self._run_host(item)
                    if self._watch is not None:
                        self._watch.ended(item.number, self._state())
                    self._words[self._stamps + item.number + 1] = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            return [
                self._objects[spec["object"]] if "object" in spec else output
                for spec, output in zip(routine.outputs, self._outputs, strict=True)
            ]
        finally:
            flops, moved = self.flops, self.bytes
            self._begin([], {})
            self.flops, self.bytes = flops, moved

    def watched(self, arrays: Sequence[Any], watch: Watch) -> list[Any]:
        """As `run`, on one thread; `watch` sees every step, those of nested graphs excepted."""
        clock, word = StepClock(lambda step: watch.ended(step, self._state())), _CTX_OFFSET // 8 + abi.CTX_CLOCK
        threads, self._threads = self._threads, 1
        self._clock, self._watch, self._words[word] = clock, watch, clock.address
        try:
            outputs = self.run(arrays, {}, profile=True)
        finally:
            self._threads, self._clock, self._watch = threads, None, None
            self._words[word] = team.CLOCK_ADDRESS
        clock.check()
        return outputs

    def _state(self) -> State:
        return State(lambda slot: self._words[self._slots + slot], self._values, self._objects)

    def stamps(self) -> list[int]:
        """The time stamps (ns) of the last profiled call: before each step and after the last one."""
        return self._words[self._stamps : self._stamps + len(self._routine.steps) + 1].tolist()

    # -- stages ------------------------------------------------------------------------------------------------------

    def _enter(self, stage: int) -> None:
        """Sets all sizes and addresses that are known from this stage on."""
        sizes = self._routine.stages.sizes(stage, self._values)
        words = self._words
        if len(sizes.dims) == self._slots - self._dims:
            words[self._dims : self._slots] = memoryview(array_of_words("q", sizes.dims.values()))
        else:
            for dim, value in sizes.dims.items():
                words[self._dims + dim] = value
        self._offsets.update(sizes.slot_offsets)
        self._operands.update(sizes.operands)
        self.flops.update(sizes.flops)
        self.bytes.update(sizes.bytes)
        for index, shape in sizes.outputs.items():
            self._outputs[index] = np.empty(shape, numpy_dtype(self._routine.outputs[index]["dtype"]))
        self._place(stage, sizes)
        self._grow_scratch(sizes.scratch)

    def _place(self, stage: int, sizes: Sizes) -> None:
        arena = self._arenas.get(stage)
        if arena is None or arena.size < sizes.arena_bytes:
            if arena is not None:
                del self._arenas[stage]
                arena.close()
            arena = self._arenas[stage] = Memory(pages(sizes.arena_bytes))
        self._buffers.update((buffer, arena.address + offset) for buffer, offset in sizes.buffers.items())
        for slot in self._offsets:
            self._point(slot)

    def _point(self, slot: int) -> None:
        """Writes a slot's address when what it points at exists."""
        spec, offset = self._routine.slots[slot], self._offsets[slot]
        kind = spec["kind"]
        if kind in ("weight", "prepared"):
            return
        if kind == "arena":
            base = self._buffers.get(spec["buffer"])
        else:
            table = {"input": self._inputs, "output": self._outputs, "object": self._objects}[kind]
            array = table[spec["index"]]
            base = None if array is None else array.__array_interface__["data"][0]
        if base is not None:
            self._words[self._slots + slot] = base + offset

    def _grow_scratch(self, size: int) -> None:
        each = pages(size)
        if self._scratch is None or self._scratch.size < each * self._threads:
            if self._scratch is not None:
                self._scratch.close()
            self._scratch = Memory(each * self._threads)
        word = _CTX_OFFSET // 8
        self._words[word + abi.CTX_SCRATCH] = self._scratch.address
        self._words[word + abi.CTX_SCRATCH_BYTES] = self._scratch.size // self._threads

    # -- steps -------------------------------------------------------------------------------------------------------

    def _run_native(self, segment: Segment) -> None:
        self._words[_CTX_OFFSET // 8 + abi.CTX_SEGMENT] = segment.number
        address = team.address(self._threads)
        start = time.perf_counter_ns()
        self._native(
            lambda: team.caller()(address, self._routine.entry, self._ctx, self._threads),
            self._last_ns.get(segment.number, -1),
        )
        self._last_ns[segment.number] = time.perf_counter_ns() - start

    def stop(self, on: bool) -> None:
        """Makes the remaining kernels of a running call return at once, nested graphs included."""
        self._words[_CTX_OFFSET // 8 + abi.CTX_STOP] = int(on)
        for body in self._bodies.values():
            body.stop(on)

    def _run_host(self, step: HostStep) -> None:
        inputs = [self._operand(step.number, i, spec) for i, spec in enumerate(step.inputs)]
        attributes = {name: self._attribute(value) for name, value in step.attributes.items()}
        dtypes = [numpy_dtype(o["dtype"]) if o is not None and o.get("dtype") else None for o in step.outputs]
        try:
            shapes = [None if o is None else self._routine.foreseen(o["shape"], self._values) for o in step.outputs]
            results = list(step.function(HostCall(inputs, attributes, len(step.outputs), dtypes, shapes)))
        except Error as error:
            error.add_note(f"in host step {step.where}")
            raise
        except (ValueError, TypeError, IndexError, ArithmeticError, LookupError) as error:
            raise Error(f"{step.where}: {type(error).__name__}: {error}", hint="check the values fed to it") from error
        results = [_owned(result) for result in results]
        for spec, result in zip(step.outputs, results, strict=False):
            if spec is None:
                continue
            if spec["shape"] is not None:
                if result.dtype != numpy_dtype(spec["dtype"]):
                    raise Error(f"{step.where}: the host function gave {result.dtype}, {spec['dtype']} was expected")
                self._routine.match(step.where, spec["shape"], result.shape, self._values)
            self._objects[spec["object"]] = result
        stage = self._routine.stages.begins.get(step.number)
        if stage is not None:
            self._enter(stage)
        for spec in step.outputs:
            for slot in () if spec is None else self._routine.object_slots.get(spec["object"], ()):
                if slot in self._offsets:
                    self._point(slot)

    def _operand(self, step: int, i: int, spec: Mapping[str, Any] | None) -> Any:
        if spec is None:
            return None
        if "object" in spec:
            return self._objects[spec["object"]]
        if "strings" in spec:
            return np.array(spec["strings"], object).reshape(spec["shape"])
        shape, dtype = self._operands[step, i], numpy_dtype(spec["dtype"])
        size = int(np.prod(shape)) * dtype.itemsize
        if size == 0:
            return np.zeros(shape, dtype)
        memory: Any = (ctypes.c_char * size).from_address(self._words[self._slots + spec["slot"]])
        return np.frombuffer(memory, dtype).reshape(shape)

    def _attribute(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "array" in value:
            return np.array(value["array"], np.dtype(value["dtype"])).reshape(value["shape"])
        if "codes" in value:
            return from_codes(value["codes"], value["dtype"]).reshape(value["shape"])
        number = int(value["body"])
        return lambda arrays: self._call_body(number, arrays)

    def _call_body(self, number: int, arrays: Sequence[Any]) -> list[Any]:
        """Runs a nested graph. Symbols of this graph keep their values in it."""
        routine = self._routine.bodies[number]
        frame = self._bodies.get(number)
        if frame is None:
            frame = self._bodies[number] = Frame(routine, self._threads, self._native)
        given = {name: self._values[name] for name in routine.plan["given"]}
        kept = [
            array if "object" in spec else np.require(array, numpy_dtype(spec["dtype"]), ["C", "A"])
            for spec, array in zip(routine.inputs, arrays, strict=True)
        ]
        return [_owned(y) for y in frame.run(kept, given)]

    def close(self) -> None:
        """Gives the memory back."""
        for body in self._bodies.values():
            body.close()
        for memory in (*self._arenas.values(), self._scratch):
            if memory is not None:
                memory.close()
        self._arenas, self._scratch, self._bodies = {}, None, {}
        self._words = memoryview(b"")
        self._control.close()


def _owned(value: Any) -> Any:
    """The value in memory of its own: arenas are written to again."""
    if isinstance(value, list):
        return [_owned(item) for item in value]
    if value is None:
        return None
    array = np.asarray(value)
    return array.copy() if array.base is not None or not array.flags.c_contiguous else array
