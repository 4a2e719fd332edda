"""Runs that are watched: what lies inside the network after each step (docs/design/0003, "Inner tensors").

A program that is profiled reads the clock before its first step and after each. A watched call runs on one thread alone
and has Python in the place of the clock, which then reads memory: the code that runs is the code that always runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from magicmind.dtypes import numpy_dtype
from magicmind.errors import Error
from magicmind.runtime.shapes import compile_texts

Array = np.ndarray[Any, np.dtype[Any]]

_CLOCK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class InnerTensor:
    """A tensor inside a network: its name, the source's layers that it comes out of, its operator, its step."""

    name: str
    layers: tuple[str, ...]
    op: str
    step: int


Take = Callable[[InnerTensor, Array], None]
"""Called with a tensor and a copy of its contents."""


@dataclass(frozen=True)
class State:
    """A call in progress: addresses by slot, the values of the symbols, objects of host steps."""

    address: Callable[[int], int]
    values: Mapping[str, int]
    objects: Sequence[Any] = ()


class Watch:
    """Hands out tensors as the steps that finish them end. `only`: those of these names, None for all."""

    def __init__(self, tensors: Sequence[Mapping[str, Any]], take: Take, only: Collection[str] | None) -> None:
        """Raises Error for names that the network does not have inside."""
        known = {str(item["name"]) for item in tensors}
        missing = sorted(set(only or ()) - known)
        if missing:
            raise Error(f"no step makes {missing[0]!r}", hint=f"there are: {', '.join(sorted(known))}")
        self._take = take
        self._parts: dict[str, list[Array]] = {}
        self._of_step: dict[int, list[Mapping[str, Any]]] = {}
        for item in tensors:
            if only is None or item["name"] in only:
                self._of_step.setdefault(int(item["step"]), []).append(item)

    def ended(self, step: int, state: State) -> None:
        """A step has ended."""
        for item in self._of_step.get(step, ()):
            array = self._whole(item, _contents(item, state))
            if array is not None:
                layers = tuple(str(item["node"]).split(","))
                self._take(InnerTensor(str(item["name"]), layers, str(item["op"]), step), array)

    def _whole(self, item: Mapping[str, Any], array: Array | None) -> Array | None:
        """The tensor that `array` is the last part of; None before that. Parts are made in their order."""
        number, count = item.get("part", (0, 1))
        if array is None or count == 1:
            return array
        parts = self._parts.setdefault(str(item["name"]), [])
        parts.append(array)
        return np.concatenate(self._parts.pop(str(item["name"]))) if number == count - 1 else None


def _contents(item: Mapping[str, Any], state: State) -> Array | None:
    """A copy, in the logical order of axes; None where a size is not known: a branch was not taken."""
    try:
        shape = compile_texts(item["shape"], list(state.values))(*state.values.values())
    except Error:  # it has a symbol without value
        return None
    dtype = numpy_dtype(item["dtype"])
    if "object" in item:
        value = state.objects[item["object"]]
        return None if value is None or np.size(value) != prod(shape) else np.array(value).reshape(shape)
    if not prod(shape):
        return np.zeros(shape, dtype)
    blocks = item["blocks"]
    stored = shape if not blocks else (shape[0], -(-shape[1] // blocks), *shape[2:], blocks)
    size = prod(stored) * dtype.itemsize
    memory: Any = (ctypes.c_char * size).from_address(state.address(int(item["slot"])))
    array: Array = np.frombuffer(memory, dtype).reshape(stored)
    if blocks:
        plain = np.moveaxis(array, -1, 2).reshape(shape[0], -1, *shape[2:])
        array = plain[:, : shape[1]]
    return array.copy()


class StepClock:
    """Stands in for `clock_gettime` in a call on one thread. `ended` is called after each step, with its number."""

    def __init__(self, ended: Callable[[int], None]) -> None:
        self._ended = ended
        self._failure: BaseException | None = None
        self._function = _CLOCK(self._tick)  # lives as long as native code may call it
        address = ctypes.cast(self._function, ctypes.c_void_p).value
        assert address is not None
        self.address = address
        self.begin(0)

    def begin(self, step: int) -> None:
        """Native code will begin with this step."""
        self._step, self._begun = step, False

    def _tick(self, _clock: int, _time: int) -> int:
        if not self._begun:
            self._begun = True
            return 0
        self._step += 1
        if self._failure is None:
            try:
                self._ended(self._step - 1)
            except BaseException as failure:  # native code lets none through
                self._failure = failure
        return 0

    def check(self) -> None:
        """Raises what `ended` raised."""
        if self._failure is not None:
            raise self._failure
