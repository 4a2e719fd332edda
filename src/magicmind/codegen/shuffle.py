"""Looking up bytes in tables of 16 that lie in a register."""

from __future__ import annotations

from llvmlite import ir

from magicmind.codegen.target import Target
from magicmind.codegen.values import I8, Vec

_PART = 16
"""Bytes of a table, and of the parts of a register that the instructions look up by themselves."""
_X86 = {16: "llvm.x86.ssse3.pshuf.b.128", 32: "llvm.x86.avx2.pshuf.b", 64: "llvm.x86.avx512.pshuf.b.512"}
_NEON = "llvm.aarch64.neon.tbl1.v16i8"


def register_bytes(target: Target) -> int:
    """Bytes that one instruction looks up."""
    return 4 * target.lanes


def look_up(table: Vec, index: Vec) -> Vec:
    """table[index] byte by byte, 16 bytes in the table, every index below 16.

    `index` has the lanes of one register (`register_bytes`). Source: Intel SDM, PSHUFB; Arm ARM, TBL.
    """
    k = index.k
    kind = ir.VectorType(I8, index.lanes)
    if not k.target.is_x86:
        return Vec(k, k.intrinsic(_NEON, kind, [table.value, index.value]), "u8", index.lanes)
    every = k.shuffle(table, table, [i % _PART for i in range(index.lanes)])
    return Vec(k, k.intrinsic(_X86[index.lanes], kind, [every.value, index.value]), "u8", index.lanes)
