"""Runs one kernel on numpy arrays in this process, with guarded memory: for tests of kernel generators."""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
from collections.abc import Hashable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from magicmind.codegen.link import link
from magicmind.codegen.llvm import compile_object
from magicmind.codegen.target import TARGETS, Target, find_target
from magicmind.lower.plan import KernelSpec
from magicmind.runtime.cpu import cpu_features

Array = npt.NDArray[np.generic]
GUARD = 192
"""Bytes before and after every array that a kernel may not touch."""
_PATTERN = 0xA5


def runnable_targets() -> list[str]:
    """Names of the targets whose code this CPU can run."""
    present = cpu_features()
    return [t.name for t in TARGETS.values() if t.triple.startswith(platform.machine()) and set(t.requires) <= present]


def compile_kernel(spec: KernelSpec, target: Target) -> tuple[bytes, int]:
    """Linked code of one kernel and the offset of its entry. Undefined symbols are a CompileError."""
    kernel = spec.build(target, "kernel")
    blob = link([compile_object(kernel.finish(), target)], ["kernel"])
    return blob.data, blob.symbols["kernel"]


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
    aligned to its element only. Raises AssertionError when a byte outside of the arrays or the scratch changed.
    """
    memory, address = load_kernel(cast(Hashable, spec), find_target(target))
    places: dict[int, _Guarded] = {}
    for array in arrays:
        places.setdefault(id(array), _Guarded(array))
    work = _Guarded(np.zeros(max(scratch, 1), np.uint8), aligned=True)
    function = ctypes.CFUNCTYPE(
        None, *[ctypes.c_void_p] * len(arrays), *[ctypes.c_int64] * (len(params) + 2), ctypes.c_void_p
    )
    for tid in range(nthreads):
        function(address)(*(places[id(a)].address for a in arrays), *params, tid, nthreads, work.address)
    for i, array in enumerate(arrays):
        places[id(array)].check(f"argument {i}")
        array[...] = places[id(array)].content
    work.check("scratch")
    del memory


class _Guarded:
    """A copy of an array between two zones of a known pattern."""

    def __init__(self, array: Array, aligned: bool = False) -> None:
        size = array.nbytes
        self.buffer = np.full(size + 2 * GUARD + 128, _PATTERN, np.uint8)
        base = int(self.buffer.ctypes.data)
        # One element beyond a cache line: aligned to the element and to nothing more.
        self.start = -base % 64 + GUARD + (0 if aligned else array.itemsize)
        self.address = base + self.start
        self.size = size
        self.content: Array = self.buffer[self.start : self.start + size].view(array.dtype).reshape(array.shape)
        self.content[...] = array

    def check(self, what: str) -> None:
        before, after = self.buffer[: self.start], self.buffer[self.start + self.size :]
        assert (before == _PATTERN).all(), f"{what}: the kernel wrote before the array"
        assert (after == _PATTERN).all(), f"{what}: the kernel wrote after the array"


@functools.lru_cache(maxsize=64)
def load_kernel(spec: Hashable, target: Target) -> tuple[mmap.mmap, int]:
    """Executable memory with the kernel's code, and its address."""
    code, entry = compile_kernel(cast(KernelSpec, spec), target)
    memory = mmap.mmap(-1, len(code), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    return memory, ctypes.addressof(ctypes.c_char.from_buffer(memory)) + entry
