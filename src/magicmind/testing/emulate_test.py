"""Emulators: memory comes back, what a CPU lacks is refused, and the rewriting of AVX-VNNI is exact."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.codegen.llvm import compile_text
from magicmind.codegen.target import TARGETS, find_target
from magicmind.testing.bochs import bochs
from magicmind.testing.emulate import DATA, Call, emulated_targets, run_emulated
from magicmind.testing.evex import without_vex_vnni

needs_bochs = pytest.mark.skipif(bochs() is None, reason="needs bochs with its debugger (Debian package bochs)")

_ADD = """
target triple = "{triple}"
define void @add(i64 %address, i64 %value) {{
  %p = inttoptr i64 %address to ptr
  %old = load i64, ptr %p
  %new = add i64 %old, %value
  store i64 %new, ptr %p
  ret void
}}
"""
# One product with operands in registers, one with an operand in memory, far from its pointer, one with a constant.
_DOTS = """
declare <8 x i32> @llvm.x86.avx512.vpdpbusd.256(<8 x i32>, <8 x i32>, <8 x i32>)
define void @dots(ptr %p, i64 %i) {
  %a = load <8 x i32>, ptr %p
  %q = getelementptr i8, ptr %p, i64 32
  %b = load <8 x i32>, ptr %q
  %r = getelementptr <8 x i32>, ptr %p, i64 %i
  %far = getelementptr i8, ptr %r, i64 4064
  %c = load <8 x i32>, ptr %far, align 4
  %near = getelementptr i8, ptr %r, i64 100
  %d = load <8 x i32>, ptr %near, align 4
  %s = call <8 x i32> @llvm.x86.avx512.vpdpbusd.256(<8 x i32> %a, <8 x i32> %b, <8 x i32> %b)
  %t = call <8 x i32> @llvm.x86.avx512.vpdpbusd.256(<8 x i32> %s, <8 x i32> %b, <8 x i32> %c)
  %u = call <8 x i32> @llvm.x86.avx512.vpdpbusd.256(<8 x i32> %t, <8 x i32> %s, <8 x i32> %d)
  %v = call <8 x i32> @llvm.x86.avx512.vpdpbusd.256(<8 x i32> %u, <8 x i32> %b, <8 x i32> <i32 1, i32 2, i32 3, i32 4,
    i32 5, i32 6, i32 7, i32 -8>)
  store <8 x i32> %v, ptr %p
  ret void
}
"""


@pytest.mark.parametrize("name", emulated_targets())
def test_calls_follow_each_other_on_one_memory(name: str) -> None:
    target = find_target(name)
    memory = np.arange(3000, dtype=np.int64)
    calls: list[Call] = [("add", [DATA + 8 * 2999, 5]), ("add", [DATA + 8 * 2999, -6]), ("add", [DATA, 7])]
    code = compile_text(_ADD.format(triple=target.triple), "add", target)
    memory[0], memory[-1], expected = 0, 2999, memory.copy()
    expected[0], expected[-1] = 7, 2998
    np.testing.assert_array_equal(
        np.frombuffer(run_emulated([code], calls, memory.tobytes(), target), np.int64), expected
    )


@needs_bochs
def test_a_cpu_without_vnni_refuses_it() -> None:
    code = compile_text(_DOTS, "dots", find_target("cascadelake"))
    calls: list[Call] = [("dots", [DATA, 0])]
    with pytest.raises(RuntimeError, match="vpdpbusd ymm"):
        run_emulated([code], calls, bytes(8192), TARGETS["x86-64-v4"])


@needs_bochs
def test_avx_vnni_is_what_avx512_vnni_is() -> None:
    memory = np.random.default_rng(1).integers(0, 256, 8192).astype(np.uint8).tobytes()
    results = []
    for name in ("cascadelake", "alderlake"):
        code = compile_text(_DOTS, "dots", find_target(name))
        results.append(run_emulated([code], [("dots", [DATA, 3])], memory, find_target(name)))
    assert results[0] == results[1]
    assert results[0] != memory


def test_rewriting_leaves_jumps() -> None:
    registers = bytes.fromhex("c4e26d50d9")  # vpdpbusd ymm3, ymm2, ymm1
    near = bytes.fromhex("c4427550 4c8b 20".replace(" ", ""))  # vpdpbusd ymm9, ymm1, [r11 + 4 * rcx + 32]
    constant = bytes.fromhex("c4e27d500510000000")  # vpdpbusd ymm0, ymm0, [rip + 16]
    code = registers + near + constant + bytes(16) + b"target"
    image = without_vex_vnni(code)
    assert image[:5] == b"\xe9" + (len(code) - 5).to_bytes(4, "little")
    assert image[10:12] == b"\x90\x90"
    moved = image[len(code) :]
    assert moved[:6] == bytes.fromhex("62f26d2850d9")
    assert moved[11:16] == bytes.fromhex("6252752850")
    assert moved[16:22] == bytes.fromhex("8c8b20000000")
    assert moved[27:33] == bytes.fromhex("62f27d285005")
    displacement = int.from_bytes(moved[33:37], "little", signed=True)
    assert len(code) + 37 + displacement == code.index(b"target")
