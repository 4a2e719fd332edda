"""Runs a whole built network of fixed shapes under an emulator, on one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magicmind.codegen.target import find_target
from magicmind.dtypes import numpy_dtype
from magicmind.modelfile import abi
from magicmind.modelfile.parts import ModelParts
from magicmind.runtime.shapes import PlanShapes
from magicmind.testing.emulate import DATA, Call, run_blob

Array = np.ndarray[Any, np.dtype[Any]]
_ALIGNMENT = 64


def run_program(parts: ModelParts, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name of the first target's program, which has neither host steps nor symbols.

    Raises RuntimeError when the program crashes (testing/emulate.py).
    """
    built = parts.targets[0]
    plan = built.plan
    inputs = [np.ascontiguousarray(feeds[item["name"]]) for item in plan["inputs"]]
    shapes = PlanShapes(plan)
    numbers = shapes.evaluate(shapes.bind(tuple(a.shape for a in inputs)))
    outputs = [
        np.zeros(shape, numpy_dtype(item["dtype"]))
        for shape, item in zip(numbers.output_shapes, plan["outputs"], strict=True)
    ]
    prepare = plan.get("prepare")
    memory = _Memory()
    places = {
        "input": [memory.add(a.tobytes()) for a in inputs],
        "output": [memory.add(bytes(a.nbytes)) for a in outputs],
        "weight": [memory.add(b"".join(map(bytes, parts.weights.chunks())))],
        "prepared": [memory.garbage(prepare["bytes"] if prepare else 0)],
    }
    arena = memory.garbage(plan["arena"])
    places["arena"] = [arena + offset for offset in plan["offsets"]]

    def call(symbol: str, slots: Sequence[Mapping[str, Any]], dims: Sequence[int], scratch: int) -> Call:
        context = [0] * abi.CTX_WORDS
        context[abi.CTX_SLOTS], context[abi.CTX_DIMS] = (
            memory.words([_address(s, places) for s in slots]),
            memory.words(dims),
        )
        context[abi.CTX_THREADS], context[abi.CTX_BARRIER] = 1, memory.add(bytes(abi.BARRIER_BYTES))
        context[abi.CTX_SCRATCH], context[abi.CTX_SCRATCH_BYTES] = memory.garbage(scratch), scratch
        return symbol, [memory.words(context), 0]

    calls = [call(abi.PREPARE_SYMBOL, prepare["slots"], [], int(prepare["scratch"]))] if prepare else []
    calls.append(call(abi.PROGRAM_SYMBOL, plan["slots"], numbers.dims, numbers.scratch))
    left = run_blob(built.code, calls, bytes(memory.bytes), find_target(built.name))
    for array, place in zip(outputs, places["output"], strict=True):
        start = place - DATA
        array[...] = np.frombuffer(left[start : start + array.nbytes], array.dtype).reshape(array.shape)
    return {item["name"]: array for item, array in zip(plan["outputs"], outputs, strict=True)}


def _address(slot: Mapping[str, Any], places: Mapping[str, Sequence[int]]) -> int:
    """Of a slot whose offset is a number, as those of plans without symbols are."""
    number: int = slot.get("index", slot.get("buffer", 0))
    return places[slot["kind"]][number] + int(slot["offset"])


class _Memory:
    """The emulated memory under construction."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    def add(self, content: bytes) -> int:
        """Its address."""
        self.bytes += bytes(-len(self.bytes) % _ALIGNMENT)
        place = DATA + len(self.bytes)
        self.bytes += content
        return place

    def garbage(self, size: int) -> int:
        """The address of so many bytes as other calls leave them."""
        return self.add(b"\x7b" * size)

    def words(self, numbers: Any) -> int:
        return self.add(np.array(numbers, np.int64).tobytes())
