"""This machine's float32 peak, measured: independent multiply-adds in registers, on as many threads as a call uses.

The loop is generated like any kernel, so it uses the vectors that kernels use. Needs the extra [build].
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

import numpy as np

from magicmind.codegen.builder import Kernel
from magicmind.codegen.link import link
from magicmind.codegen.llvm import compile_object
from magicmind.codegen.target import BLOCK, Target, find_target
from magicmind.modelfile.reader import map_code

_UNROLL = 8
_STEPS = 100_000
_ATTEMPTS = 20


def measured_gflops(threads: int) -> float:
    """Best of several attempts, all threads together, in GFLOP/s (a fused multiply-add counts as two)."""
    target = find_target("native")
    chains = accumulators(target)
    blob = link([compile_object(loop(target, chains).finish(), target)], ["peak"])
    mapping = map_code(memoryview(blob.data))
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    function = kind(mapping.address + blob.symbols["peak"])
    data = np.full((threads, (2 + chains) * BLOCK), 1e-3, np.float32)

    def call(thread: int) -> None:
        function(data[thread].ctypes.data, _STEPS, thread, threads, None)

    flops = 2 * threads * _STEPS * _UNROLL * chains * BLOCK
    best = min(_time(call, threads) for _ in range(_ATTEMPTS))
    mapping.close()
    return flops / best / 1e9


def accumulators(target: Target) -> int:
    """Blocks of 16 in three quarters of the registers: 16 to 24 of 32 were fastest on AVX-512, 30 lost 2 %."""
    return target.vregs * 3 // 4 // target.registers_per_block


def loop(target: Target, chains: int) -> Kernel:
    """peak(data, steps): data[2 + j] += steps * _UNROLL * data[0] * data[1] for every chain j, 16 floats each."""
    k = Kernel("peak", target, ["f32"], params=1)
    (data,) = k.pointers
    x, y = data.load(BLOCK), data.load(BLOCK, BLOCK)
    acc = k.tile("acc", chains)
    for j in range(chains):
        acc[j,] = data.load(BLOCK, (2 + j) * BLOCK)
    with k.loop("step", 0, k.params[0]):
        for _ in k.unroll("u", _UNROLL):
            for j in range(chains):
                acc[j,] = k.fma(x, y, acc[j,])
    for j in range(chains):
        data.store(acc[j,], (2 + j) * BLOCK)
    return k


def _time(call: Callable[[int], None], threads: int) -> float:
    """Seconds until all threads have made one call, started together."""
    gate = threading.Barrier(threads)
    spans: list[tuple[float, float]] = []

    def work(thread: int) -> None:
        gate.wait()
        start = time.perf_counter()
        call(thread)
        spans.append((start, time.perf_counter()))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return max(end for _, end in spans) - min(start for start, _ in spans)
