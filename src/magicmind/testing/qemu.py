"""Runs AArch64 code on another machine under qemu-user: a static program without libc."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from llvmlite import binding

from magicmind.codegen.link import link
from magicmind.codegen.llvm import target_machine
from magicmind.codegen.target import Target

_QEMU = ("qemu-aarch64", "qemu-aarch64-static")
_CODE = 0x400000
_PAGE = 0x1000
_TIMEOUT = 120
_PROGRAM_HEADERS = 64  # they follow the ELF header
# libc's `syscall`, at the start of the code: number and arguments move down one register, then svc #0, ret.
# By hand, because llvmlite registers no assembler for other machines, which inline assembly would need.
_SYSCALL = struct.pack(
    "<9I", 0xAA0003E8, 0xAA0103E0, 0xAA0203E1, 0xAA0303E2, 0xAA0403E3, 0xAA0503E4, 0xAA0603E5, 0xD4000001, 0xD65F03C0
)


def qemu() -> str | None:
    """Path of qemu-user for AArch64; None when it is not installed (Debian: package qemu-user)."""
    return next((path for name in _QEMU if (path := shutil.which(name))), None)


def run(image: bytes, address: int, entry: int, size: int, target: Target) -> bytes:
    """Calls `void entry()` with the image at `address`, and returns what is left of its first `size` bytes.

    Raises RuntimeError with the exit status when the program crashes.
    """
    emulator = qemu()
    if emulator is None:
        raise RuntimeError("qemu-aarch64 is not installed")
    start = link([_start(entry, address, size, target)], ["_start"])
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        program.write_bytes(_static_program(start.data, start.symbols["_start"], image, address))
        program.chmod(0o700)
        result = subprocess.run([emulator, str(program)], capture_output=True, timeout=_TIMEOUT, check=False)
    if result.returncode or len(result.stdout) != size:
        raise RuntimeError(f"{target.name} under qemu: status {result.returncode} {result.stderr.decode()}")
    return result.stdout


def _start(entry: int, address: int, size: int, target: Target) -> bytes:
    """Object with `_start`: the call, then the memory to standard output, then the end."""
    text = f"""
target triple = "{target.triple}"
define hidden void @_start() nounwind {{
entry:
  %syscall = inttoptr i64 {_CODE} to ptr
  call void inttoptr (i64 {entry} to ptr)()
  br label %write
write:
  %done = phi i64 [ 0, %entry ], [ %sum, %write ]
  %from = add i64 %done, {address}
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


def _static_program(code: bytes, entry: int, data: bytes, address: int) -> bytes:
    """ELF executable with the code, and data that are code as well (System V ABI, chapters 4 and 5)."""
    code = _SYSCALL.ljust(_PAGE, b"\0") + code
    padded = code + bytes(-len(code) % _PAGE)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"),
        2, 183, 1, _CODE + _PAGE + entry, _PROGRAM_HEADERS, 0, 0, 64, 56, 2, 0, 0, 0,
    )  # fmt: skip
    segments = b"".join(
        struct.pack("<IIQQQQQQ", 1, flags, offset, place, place, size, size, _PAGE)
        for flags, offset, place, size in (
            (5, _PAGE, _CODE, len(code)),
            (7, _PAGE + len(padded), address, len(data)),
        )
    )
    return (header + segments).ljust(_PAGE, b"\0") + padded + data
