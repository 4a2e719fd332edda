"""Tensors made of numbers the call already knows: sizes and ramps."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.builder import Kernel, Size
from magicmind.codegen.target import Target
from magicmind.kernels.work import params_of, share


@dataclass(frozen=True)
class WriteSizes:
    """out[i] = values[i], run-time sizes among them. Args: out i64."""

    values: tuple[Size, ...]

    @property
    def name(self) -> str:
        return f"sizes_{len(self.values)}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, ("i64",), params_of(*self.values))
        with k.when(k.equal(k.tid, 0)):
            for i, value in enumerate(self.values):
                k.pointers[0].store(k.number(k.size(value)), at=i)
        return k


@dataclass(frozen=True)
class Ramp:
    """out[i] = start + i * delta for i in 0..count. Args: start [1], delta [1], out [count] of `dtype`."""

    count: Size
    dtype: str

    @property
    def name(self) -> str:
        return f"ramp_{self.count}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, (self.dtype,) * 3, params_of(self.count))
        start, delta, out = k.pointers
        first, last = share(k, k.size(self.count), 1)
        with k.loop("i", first, last) as i:
            out.store(start.load() + k.number(i, self.dtype) * delta.load(), at=i)
        return k
