"""Lanes that change places, an instruction a step: parts that interleave, bytes looked up in a register."""

from __future__ import annotations

from magicmind.codegen import ir
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
    every = k.repeat(table, index.lanes // _PART)
    return Vec(k, k.intrinsic(_X86[index.lanes], kind, [every.value, index.value]), "u8", index.lanes)


def interleave_parts(a: Vec, b: Vec, per_part: int, start: int) -> Vec:
    """Within parts of `per_part` lanes: a[start], b[start], a[start + 1], ... of half of each part.

    Parts of 128 bits are x86's PUNPCKL (start 0) and PUNPCKH (half of a part). Source: Intel SDM.
    """
    picks = []
    for part in range(0, a.lanes, per_part):
        for i in range(start, start + per_part // 2):
            picks += [part + i, a.lanes + part + i]
    return a.k.shuffle(a, b, picks)


def every_second_part(a: Vec, b: Vec, per_part: int, first: int) -> Vec:
    """Every second part of `per_part` lanes of a, then of b, from part `first` (0 or 1)."""
    lanes = a.lanes
    starts = [s for v in (0, lanes) for s in range(v + first * per_part, v + lanes, 2 * per_part)]
    return a.k.shuffle(a, b, [s + i for s in starts for i in range(per_part)])
