"""Runs AArch64 code on another machine under qemu-user: one function, called once, in a static program without libc."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import binding

from magicmind.codegen.link import link
from magicmind.codegen.llvm import target_machine
from magicmind.codegen.target import Target

Array = np.ndarray[Any, np.dtype[Any]]

_QEMU = ("qemu-aarch64", "qemu-aarch64-static")
_CODE, DATA = 0x400000, 0x10000000
"""Where code and the first array argument lie."""
_PAGE = 0x1000
_ALIGNMENT = 64
_PROGRAM_HEADERS = 64  # they follow the ELF header
# libc's `syscall`, at the start of the code: number and arguments move down one register, then svc #0, ret.
# By hand, because llvmlite registers no assembler for other machines, which inline assembly would need.
_SYSCALL = struct.pack(
    "<9I", 0xAA0003E8, 0xAA0103E0, 0xAA0203E1, 0xAA0303E2, 0xAA0403E3, 0xAA0503E4, 0xAA0603E5, 0xD4000001, 0xD65F03C0
)


def qemu() -> str | None:
    """Path of qemu-user for AArch64; None when it is not installed (Debian: package qemu-user)."""
    return next((path for name in _QEMU if (path := shutil.which(name))), None)


def run_aarch64(objects: Sequence[bytes], symbol: str, arguments: Sequence[int | Array], target: Target) -> None:
    """Links the objects, calls `void symbol(arguments...)` and writes the arrays back.

    Arrays are passed by address (64-byte aligned, C-contiguous and writable here), numbers as i64. Raises RuntimeError
    with the exit status when the program crashes.
    """
    emulator = qemu()
    if emulator is None:
        raise RuntimeError("qemu-aarch64 is not installed")
    data, places = _lay_out([a for a in arguments if isinstance(a, np.ndarray)])
    values = iter(places)
    stub = _stub(symbol, [next(values) if isinstance(a, np.ndarray) else a for a in arguments], len(data), target)
    blob = link([stub, *objects], ["_start"])
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        program.write_bytes(_static_program(blob.data, blob.symbols["_start"], data))
        program.chmod(0o700)
        result = subprocess.run([emulator, str(program)], capture_output=True, timeout=120, check=False)
    if result.returncode or len(result.stdout) != len(data):
        raise RuntimeError(f"{symbol} under qemu: status {result.returncode} {result.stderr.decode()}")
    for array, place in zip((a for a in arguments if isinstance(a, np.ndarray)), places, strict=True):
        start = place - DATA
        array[...] = np.frombuffer(result.stdout[start : start + array.nbytes], array.dtype).reshape(array.shape)


def _lay_out(arrays: Sequence[Array]) -> tuple[bytes, list[int]]:
    data, places = bytearray(), []
    for array in arrays:
        data += bytes(-len(data) % _ALIGNMENT)
        places.append(DATA + len(data))
        data += array.tobytes()
    return bytes(data), places


def _stub(symbol: str, arguments: Sequence[int], size: int, target: Target) -> bytes:
    """Object with `_start`: the call, then the data to standard output, then the end."""
    types = ", ".join("i64" for _ in arguments)
    values = ", ".join(f"i64 {value}" for value in arguments)
    text = f"""
target triple = "{target.triple}"
declare hidden void @{symbol}({types})
define hidden void @_start() nounwind {{
entry:
  %syscall = inttoptr i64 {_CODE} to ptr
  call void @{symbol}({values})
  br label %write
write:
  %done = phi i64 [ 0, %entry ], [ %sum, %write ]
  %from = add i64 %done, {DATA}
  %left = sub i64 {size}, %done
  %count = call i64 %syscall(i64 64, i64 1, i64 %from, i64 %left)
  %sum = add i64 %done, %count
  %more = icmp ult i64 %sum, {size}
  br i1 %more, label %write, label %exit
exit:
  %never = call i64 %syscall(i64 93, i64 0, i64 0, i64 0)
  ret void
}}
"""
    module = binding.parse_assembly(text)
    module.verify()
    return bytes(target_machine(target).emit_object(module))


def _static_program(code: bytes, entry: int, data: bytes) -> bytes:
    """ELF executable with a read+execute and a read+write segment (System V ABI, chapters 4 and 5)."""
    code = _SYSCALL.ljust(_PAGE, b"\0") + code
    padded = code + bytes(-len(code) % _PAGE)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        2, 183, 1, _CODE + _PAGE + entry, _PROGRAM_HEADERS, 0, 0, 64, 56, 2, 0, 0, 0,
    )  # fmt: skip
    segments = b"".join(
        struct.pack("<IIQQQQQQ", 1, flags, offset, address, address, size, size, _PAGE)
        for flags, offset, address, size in (
            (5, _PAGE, _CODE, len(code)),
            (6, _PAGE + len(padded), DATA, len(data)),
        )
    )
    return (header + segments).ljust(_PAGE, b"\0") + padded + data
