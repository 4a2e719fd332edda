"""The linker: what it joins, what it refuses, and that AArch64 immediates come out right."""

from __future__ import annotations

import ctypes
import platform
import struct

import numpy as np
import pytest

from magicmind.codegen.link import link
from magicmind.codegen.target import TARGETS
from magicmind.codegen.team import compile_barrier
from magicmind.errors import CompileError
from magicmind.modelfile.reader import map_code
from magicmind.testing.emulate import call_emulated
from magicmind.testing.handmade import PROGRAM, assemble, machine_target
from magicmind.testing.qemu import qemu

HERE = machine_target()
A64 = TARGETS["aarch64"]
X86 = TARGETS["x86-64-v2"]

CALLER = """
@table = private unnamed_addr constant [4 x i32] [i32 10, i32 20, i32 30, i32 40]
declare hidden i32 @plus(i32, i32)
define hidden i32 @pick(i32 %i) {
  %p = getelementptr [4 x i32], ptr @table, i64 0, i32 %i
  %v = load i32, ptr %p
  %r = call i32 @plus(i32 %v, i32 %i)
  ret i32 %r
}
"""
CALLEE = "define hidden i32 @plus(i32 %a, i32 %b) {\n  %r = add i32 %a, %b\n  ret i32 %r\n}\n"


def test_calls_and_constants_across_objects() -> None:
    blob = link([assemble(CALLER, HERE), assemble(CALLEE, HERE)], ["pick", "plus"])
    mapping = map_code(memoryview(blob.data))
    pick = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(mapping.address + blob.symbols["pick"])
    assert [pick(i) for i in range(4)] == [10, 21, 32, 43]
    mapping.close()


def test_functions_are_aligned_and_output_is_deterministic() -> None:
    objects = [assemble(CALLER, HERE), assemble(CALLEE, HERE)]
    blob = link(objects, ["pick", "plus"])
    assert all(offset % 64 == 0 for offset in blob.symbols.values())
    assert link(objects, ["pick", "plus"]) == blob


def test_equal_constants_are_stored_once() -> None:
    objects = [assemble(CALLER.replace("@pick", f"@pick{i}"), HERE) for i in range(3)]
    blob = link([*objects, assemble(CALLEE, HERE)], ["pick0", "pick2"])
    assert blob.data.count(struct.pack("<4i", 10, 20, 30, 40)) == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="relaxes x86-64 instructions")
def test_a_load_through_the_got_becomes_an_address() -> None:
    user = "@c = external constant i32\ndefine hidden i32 @get() {\n  %v = load i32, ptr @c\n  ret i32 %v\n}\n"
    blob = link([assemble(user, X86), assemble("@c = constant i32 77", X86)], ["get"])
    mapping = map_code(memoryview(blob.data))
    assert ctypes.CFUNCTYPE(ctypes.c_int)(mapping.address + blob.symbols["get"])() == 77
    mapping.close()


def test_bytes_that_are_no_object() -> None:
    whole = assemble(CALLEE, HERE)
    for broken in (b"", b"\x7fELF", bytes(64), whole[: len(whole) // 2], whole[:40] + bytes([255] * 8) + whole[48:]):
        with pytest.raises(CompileError):
            link([broken], ["plus"])


def test_all_undefined_symbols_are_listed_with_their_users() -> None:
    text = (
        "declare float @expf(float)\ndeclare hidden void @gone()\n"
        "define hidden float @soft(float %x) {\n  %y = call float @expf(float %x)\n  ret float %y\n}\n"
        "define hidden void @hard() {\n  call void @gone()\n  ret void\n}\n"
    )
    with pytest.raises(CompileError) as error:
        link([assemble(text, HERE)], ["soft", "absent"])
    message = str(error.value)
    assert "expf: referred to by soft" in message
    assert "gone: referred to by hard" in message
    assert "absent: asked for as an entry point" in message


@pytest.mark.parametrize("target", [X86, A64], ids=lambda t: t.name)
def test_tables_of_addresses_and_variables_are_refused(target: object) -> None:
    table = "define hidden void @f() {\n  ret void\n}\n@t = hidden constant [2 x ptr] [ptr @f, ptr @f]\n"
    with pytest.raises(CompileError, match=r"(?s)writable.*absolute address"):
        link([assemble(table, target)], ["f"])  # type: ignore[arg-type]
    with pytest.raises(CompileError, match=r"\.(s?data|bss)"):
        link([assemble("@v = hidden global i32 5", target)], [])  # type: ignore[arg-type]


def test_a_symbol_defined_twice_is_refused() -> None:
    with pytest.raises(CompileError, match="plus is defined twice"):
        link([assemble(CALLEE, HERE), assemble(CALLEE, HERE)], ["plus"])


def test_objects_for_two_machines_are_refused() -> None:
    with pytest.raises(CompileError, match="different machines"):
        link([assemble(CALLEE, X86), assemble(CALLER, A64)], ["pick"])


def _word(code: bytes, at: int) -> int:
    return int.from_bytes(code[at : at + 4], "little")


def test_aarch64_page_addresses_and_calls() -> None:
    filler = "@f = private unnamed_addr constant [5000 x i8] zeroinitializer\n@keep = hidden alias i8, ptr @f\n"
    blob = link([assemble(filler, A64), assemble(CALLER, A64), assemble(CALLEE, A64)], ["pick", "plus"])
    table = blob.data.index(struct.pack("<4i", 10, 20, 30, 40))
    calls, addresses = [], []
    for at in range(blob.symbols["pick"], blob.symbols["plus"], 4):
        word = _word(blob.data, at)
        if word >> 26 in (0b100101, 0b000101):  # BL, B
            imm = (word & 0x3FFFFFF) - ((word & 0x2000000) << 1)
            calls.append(at + 4 * imm)
        if word >> 31 and (word >> 24) & 0x1F == 0b10000:  # ADRP
            pages = ((word >> 5 & 0x7FFFF) << 2) | (word >> 29 & 3)
            low = next(
                w >> 10 & 0xFFF for i in range(1, 6) if (w := _word(blob.data, at + 4 * i)) >> 22 == 0b1001000100
            )
            addresses.append((at & ~0xFFF) + (pages << 12) + low)
    assert table > 4096
    assert addresses == [table]
    assert blob.symbols["plus"] in calls


@pytest.mark.skipif(qemu() is None, reason="needs qemu-user")
def test_aarch64_code_runs() -> None:
    loop = """
declare hidden i32 @pick(i32)
define hidden void @picks(ptr %out, i64 %n) {
entry:
  br label %next
next:
  %i = phi i32 [ 0, %entry ], [ %j, %next ]
  %v = call i32 @pick(i32 %i)
  %at = getelementptr i32, ptr %out, i32 %i
  store i32 %v, ptr %at
  %j = add i32 %i, 1
  %wide = zext i32 %j to i64
  %more = icmp ult i64 %wide, %n
  br i1 %more, label %next, label %done
done:
  ret void
}
"""
    out = np.zeros(5, np.int32)
    call_emulated([assemble(text, A64) for text in (loop, CALLER, CALLEE)], "picks", [out, 4], A64)
    assert out.tolist() == [10, 21, 32, 43, 0]


@pytest.mark.skipif(qemu() is None, reason="needs qemu-user")
def test_a_whole_program_runs_on_aarch64() -> None:
    """The handmade model with its barrier, at one thread."""
    x, y, t, w = np.arange(9, dtype=np.float32), np.zeros(9, np.float32), np.zeros(9, np.float32), np.full(1, 3, "f4")
    enter = """
declare hidden void @mm_program(ptr, i64)
define hidden void @enter(ptr %ctx, ptr %slots, ptr %dims, ptr %x, ptr %y, ptr %w, ptr %t) {
  store ptr %slots, ptr %ctx
  %ctx1 = getelementptr i64, ptr %ctx, i64 1
  store ptr %dims, ptr %ctx1
  store ptr %x, ptr %slots
  %slot1 = getelementptr ptr, ptr %slots, i64 1
  store ptr %y, ptr %slot1
  %slot2 = getelementptr ptr, ptr %slots, i64 2
  store ptr %w, ptr %slot2
  %slot3 = getelementptr ptr, ptr %slots, i64 3
  store ptr %t, ptr %slot3
  call void @mm_program(ptr %ctx, i64 0)
  ret void
}
"""
    ctx, slots, dims = np.zeros(16, np.int64), np.zeros(4, np.int64), np.array([9])
    ctx[2] = 1
    objects = [assemble(enter, A64), assemble(PROGRAM, A64), compile_barrier(A64)]
    call_emulated(objects, "enter", [ctx, slots, dims, x, y, w, t], A64)
    np.testing.assert_array_equal(y, 2 * (x + 3)[::-1])
