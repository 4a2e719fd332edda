"""Runs one kernel in this process, with guard zones around every array. For tests."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Hashable, Sequence

import numpy as np
from llvmlite import binding

from magicmind.codegen import llvm
from magicmind.codegen.target import TARGETS

X86 = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
_GUARD = 256


@functools.lru_cache(maxsize=256)
def _function(spec: Hashable, target: str) -> tuple[object, int]:
    assert hasattr(spec, "build")
    k = spec.build(TARGETS[target], "kernel")
    parsed, machine = llvm.optimize(k.finish(), TARGETS[target])
    engine = binding.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    return engine, engine.get_function_address("kernel")


def run(
    spec: Hashable,
    target: str,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    params: Sequence[int] = (),
    threads: int = 1,
) -> list[np.ndarray]:
    """Fills copies of `outputs`; every thread's share runs in turn. Writing outside an array fails."""
    _, address = _function(spec, target)
    guarded = [_Guarded(a) for a in (*inputs, *outputs)]
    sizes = list(params)
    kind = ctypes.CFUNCTYPE(
        None, *[ctypes.c_void_p] * len(guarded), *[ctypes.c_int64] * (len(sizes) + 2), ctypes.c_void_p
    )
    for tid in range(threads):
        kind(address)(*[g.address for g in guarded], *sizes, tid, threads, None)
    for g in guarded:
        g.check()
    return [g.array for g in guarded[len(inputs) :]]


class _Guarded:
    """An array between two zones of known bytes; the inner bytes are unaligned to catch aligned accesses."""

    def __init__(self, array: np.ndarray) -> None:
        self.buffer = np.full(array.nbytes + 2 * _GUARD + 8, 0xA5, np.uint8)
        self.size = array.nbytes
        inside = self.buffer[_GUARD + 8 : _GUARD + 8 + array.nbytes]
        inside[:] = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.array = inside.view(array.dtype).reshape(array.shape)
        self.address = inside.ctypes.data if array.nbytes else self.buffer.ctypes.data + _GUARD

    def check(self) -> None:
        assert (self.buffer[: _GUARD + 8] == 0xA5).all(), "wrote before an array"
        assert (self.buffer[_GUARD + 8 + self.size :] == 0xA5).all(), "wrote behind an array"
