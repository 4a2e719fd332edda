"""Runs code for CPUs that this machine is not, under the emulator of the target: calls on one piece of memory."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import binding

from magicmind.codegen.link import link
from magicmind.codegen.llvm import target_machine
from magicmind.codegen.target import TARGETS, Target
from magicmind.modelfile.blob import Blob
from magicmind.testing import bochs, qemu
from magicmind.testing.evex import without_vex_vnni

DATA = 0x10000000
"""Where the memory that the code works on begins, under every emulator."""

Call = tuple[str, Sequence[int]]
"""A function of the objects, and its arguments: numbers and addresses alike as i64."""

Array = np.ndarray[Any, np.dtype[Any]]

_CALLS = "emulated_calls"
_ALIGNMENT = 64
_PAGE = 4096


def emulated_targets() -> list[str]:
    """Names of the targets that `run_emulated` can run with the emulators installed here."""
    return [name for name in TARGETS if _emulates(name)]


def _emulates(target: str) -> bool:
    if target == "aarch64":
        return qemu.qemu() is not None and platform.machine() != "aarch64"
    return target in bochs.MODELS and bochs.bochs() is not None


def run_emulated(objects: Sequence[bytes], calls: Sequence[Call], memory: bytes, target: Target) -> bytes:
    """Links the objects, makes the calls one after the other and returns what they left of the memory at `DATA`.

    Raises RuntimeError with the emulator's words when the program crashes or uses an instruction that the target lacks.
    """
    return run_blob(link(objects, list(dict.fromkeys(name for name, _ in calls))), calls, memory, target)


def run_blob(code: Blob, calls: Sequence[Call], memory: bytes, target: Target) -> bytes:
    """The same with linked code, which lies behind the memory."""
    machine_code = without_vex_vnni(code.data) if target.name == "alderlake" else code.data
    code_at = DATA + _round_up(len(memory), _PAGE)
    callers_at = _round_up(code_at + len(machine_code), _PAGE)
    callers = _callers([(code_at + code.symbols[name], arguments) for name, arguments in calls], target)
    image = memory.ljust(code_at - DATA, b"\0") + machine_code
    image = image.ljust(callers_at - DATA, b"\0") + callers.data
    run = qemu.run if target.name == "aarch64" else bochs.run
    return run(image, DATA, callers_at + callers.symbols[_CALLS], len(memory), target)


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def call_emulated(objects: Sequence[bytes], symbol: str, arguments: Sequence[int | Array], target: Target) -> None:
    """Calls `void symbol(arguments...)` once and writes the arrays back.

    Arrays are passed by address (64-byte aligned, C-contiguous and writable here), numbers as i64.
    """
    memory, places = bytearray(), []
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    for array in arrays:
        memory += bytes(-len(memory) % _ALIGNMENT)
        places.append(len(memory))
        memory += array.tobytes()
    addresses = iter(places)
    numbers = [DATA + next(addresses) if isinstance(a, np.ndarray) else a for a in arguments]
    left = run_emulated(objects, [(symbol, numbers)], bytes(memory), target)
    for array, place in zip(arrays, places, strict=True):
        array[...] = np.frombuffer(left[place : place + array.nbytes], array.dtype).reshape(array.shape)


def _callers(calls: Sequence[tuple[int, Sequence[int]]], target: Target) -> Blob:
    """`void emulated_calls()`, which calls addresses with arguments."""
    lines = [
        f"call void inttoptr (i64 {address} to ptr)({', '.join(f'i64 {a}' for a in arguments)})"
        for address, arguments in calls
    ]
    text = f'target triple = "{target.triple}"\ndefine hidden void @{_CALLS}() nounwind {{\n'
    module = binding.parse_assembly("\n".join([text, *lines, "ret void\n}"]))
    module.verify()
    return link([target_machine(target).emit_object(module)], [_CALLS])
