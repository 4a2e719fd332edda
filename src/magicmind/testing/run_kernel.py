"""Runs one kernel on numpy arrays in this process, with guarded memory: for tests of kernel generators."""

from __future__ import annotations

import platform
from collections.abc import Hashable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from magicmind.codegen.llvm import compile_object
from magicmind.codegen.target import TARGETS, Target, find_target
from magicmind.lower.native import load_kernel
from magicmind.lower.plan import KernelSpec
from magicmind.runtime.cpu import cpu_features
from magicmind.testing.emulate import DATA, run_emulated
from magicmind.testing.emulate import emulated_targets as emulated_targets

Array = npt.NDArray[np.generic]
GUARD = 192
"""Bytes before and after every array that a kernel may not touch."""
_PATTERN = 0xA5


def runnable_targets() -> list[str]:
    """Names of the targets whose code this CPU can run."""
    present = cpu_features()
    return [t.name for t in TARGETS.values() if t.triple.startswith(platform.machine()) and set(t.requires) <= present]


def run_kernel(
    spec: KernelSpec,
    arrays: Sequence[Array],
    params: Sequence[int] = (),
    target: str = "native",
    nthreads: int = 1,
    scratch: int = 0,
) -> None:
    """Calls the kernel once for every thread number, one after the other, and writes the arrays back.

    `arrays` are the pointer arguments in order; an array given twice is one piece of memory. Each lies at an address
    aligned to its element only. Code that this CPU cannot run runs under an emulator. Raises AssertionError when a byte
    outside of the arrays or the scratch changed.
    """
    memory = _Memory([*arrays, np.zeros(max(scratch, 1), np.uint8)])
    if target != "native" and target not in runnable_targets():
        _call_emulated(spec, find_target(target), memory, params, nthreads)
    else:
        _call(cast(Hashable, spec), find_target(target), memory, params, nthreads)
    memory.copy_back()


def _call(spec: Hashable, target: Target, memory: _Memory, params: Sequence[int], nthreads: int) -> None:
    """In this process."""
    base = int(memory.data.ctypes.data)
    *pointers, scratch = [base + offset for offset in memory.offsets]
    kernel = load_kernel(spec, target)
    function = kernel.function(len(pointers), len(params))
    for tid in range(nthreads):
        function(*pointers, *params, tid, nthreads, scratch)


def _call_emulated(spec: KernelSpec, target: Target, memory: _Memory, params: Sequence[int], nthreads: int) -> None:
    code = compile_object(spec.build(target, "kernel").finish(), target)
    *pointers, scratch = [DATA + offset for offset in memory.offsets]
    calls = [("kernel", [*pointers, *params, tid, nthreads, scratch]) for tid in range(nthreads)]
    memory.data[:] = np.frombuffer(run_emulated([code], calls, memory.data.tobytes(), target), np.uint8)


class _Memory:
    """Copies of arrays in one buffer, between zones of a known pattern. The last one is cache-line aligned scratch."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = list({id(a): a for a in arrays}.values())
        starts: dict[int, int] = {}
        end = 0
        for array in self.arrays:
            # One element beyond a cache line: aligned to the element and to nothing more.
            skew = 0 if array is arrays[-1] else array.itemsize
            starts[id(array)] = -(-(end + GUARD) // 64) * 64 + skew
            end = starts[id(array)] + array.nbytes
        self.starts = starts
        self.offsets = [starts[id(a)] for a in arrays]
        room = np.full(end + GUARD + 64, _PATTERN, np.uint8)
        first = -int(room.ctypes.data) % 64
        self.data = room[first : first + end + GUARD]
        for array in self.arrays:
            self._content(array)[...] = array

    def _content(self, array: Array) -> Array:
        start = self.starts[id(array)]
        return self.data[start : start + array.nbytes].view(array.dtype).reshape(array.shape)

    def copy_back(self) -> None:
        """Gives the arrays what the copies hold. Raises AssertionError when a guard zone changed."""
        guard = np.ones(self.data.size, bool)
        for array in self.arrays:
            guard[self.starts[id(array)] : self.starts[id(array)] + array.nbytes] = False
            array[...] = self._content(array)
        changed = np.flatnonzero(guard & (self.data != _PATTERN))
        near = [f"argument {i} at {start}" for i, start in enumerate(self.offsets)]
        assert not changed.size, f"the kernel wrote outside of its arrays, first at {changed[0]}: {', '.join(near)}"
