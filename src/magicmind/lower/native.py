"""One kernel as a function of this process: for work on arrays while a network is built, and for tests."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import numpy as np

from magicmind.codegen.link import link
from magicmind.codegen.llvm import compile_object
from magicmind.codegen.target import Target, native_target
from magicmind.lower.plan import KernelSpec
from magicmind.modelfile.reader import Mapping, map_code

Array = np.ndarray[Any, np.dtype[Any]]


def compile_kernel(spec: KernelSpec, target: Target) -> tuple[bytes, int]:
    """Linked code of one kernel and the offset of its entry. Undefined symbols are a CompileError."""
    kernel = spec.build(target, "kernel")
    blob = link([compile_object(kernel.finish(), target)], ["kernel"])
    return blob.data, blob.symbols["kernel"]


class LoadedKernel:
    """Executable memory with a kernel's code."""

    def __init__(self, code: Mapping, entry: int) -> None:
        self._code = code  # unmapped with the last reference
        self.address = code.address + entry

    def function(self, pointers: int, sizes: int) -> Callable[..., None]:
        """As a function of so many addresses and sizes, then thread number, number of threads and scratch."""
        kinds = [ctypes.c_void_p] * pointers + [ctypes.c_int64] * (sizes + 2) + [ctypes.c_void_p]
        return cast(Callable[..., None], ctypes.CFUNCTYPE(None, *kinds)(self.address))


@functools.lru_cache(maxsize=64)
def load_kernel(spec: Hashable, target: Target) -> LoadedKernel:
    """The kernel compiled for a target that this CPU can run."""
    data, entry = compile_kernel(cast(KernelSpec, spec), target)
    return LoadedKernel(map_code(memoryview(data)), entry)


_this_machine = functools.cache(native_target)


def run_natively(spec: KernelSpec, arrays: Sequence[Array], sizes: Sequence[int] = ()) -> None:
    """Calls a kernel that needs no scratch on contiguous arrays, its pointers in order. Other threads run meanwhile."""
    assert all(array.flags.c_contiguous for array in arrays)
    loaded = load_kernel(cast(Hashable, spec), _this_machine())
    loaded.function(len(arrays), len(sizes))(*(int(a.ctypes.data) for a in arrays), *sizes, 0, 1, None)
