"""Floats rounded to bytes with saturation, a whole register of bytes at a time: x86's instructions that pack."""

from __future__ import annotations

from collections.abc import Sequence

from magicmind.codegen import ir
from magicmind.codegen.builder import Kernel
from magicmind.codegen.target import BLOCK, Target
from magicmind.codegen.values import I8, I16, I32, Vec

_ROUND = {4: "llvm.x86.sse2.cvtps2dq", 8: "llvm.x86.avx.cvt.ps2dq.256", 16: "llvm.x86.avx512.mask.cvtps2dq.512"}
_TO_WORDS = {4: "llvm.x86.sse2.packssdw.128", 8: "llvm.x86.avx2.packssdw", 16: "llvm.x86.avx512.packssdw.512"}
_TO_BYTES = {
    ("u8", 4): "llvm.x86.sse2.packuswb.128",
    ("u8", 8): "llvm.x86.avx2.packuswb",
    ("u8", 16): "llvm.x86.avx512.packuswb.512",
    ("i8", 4): "llvm.x86.sse2.packsswb.128",
    ("i8", 8): "llvm.x86.avx2.packsswb",
    ("i8", 16): "llvm.x86.avx512.packsswb.512",
}
"""By the 32-bit lanes of a register."""
_TOGETHER = 4
"""Registers of 32-bit numbers that make one of bytes."""
_PART = 4
"""32-bit lanes of the 128 bits that the instructions pack by themselves."""
_ROUNDING_OF_THE_CPU = 4


def packs(target: Target, lanes: int) -> bool:
    """Whether `round_to_bytes` takes so many lanes: 2, 4, 8, ... registers (one of 512 bits narrows in one step)."""
    return target.is_x86 and lanes >= 2 * target.lanes and lanes.bit_count() == 1


def blocks_together(target: Target) -> int:
    """Blocks of 16 numbers whose bytes fill a register; 1 where nothing packs."""
    return max(1, _TOGETHER * target.lanes // BLOCK) if target.is_x86 else 1


def round_to_bytes(x: Vec, zero: int, dtype: str, *, fits: bool = False) -> Vec:
    """round half even(x) + zero of float32, saturated to u8 or i8; a NaN becomes the lowest number.

    `fits`: the numbers are within an int32.

    Source: Intel SDM, CVTPS2DQ (what does not fit an int32, and NaN, is its lowest number), PACKSSDW, PACKUSWB.
    """
    k, size = x.k, x.k.target.lanes
    if not fits:
        highest = (255 if dtype == "u8" else 127) - zero
        limit = k.const(float(highest), "f32", x.lanes)
        x = k.select(limit.compare("<", x), limit, x)  # a NaN is kept
    registers = [_round(k, k.shuffle(x, x, range(i, i + size))) for i in range(0, x.lanes, size)]
    groups = [registers[i : i + _TOGETHER] for i in range(0, len(registers), _TOGETHER)]
    return k.concatenate([_packed(k, group, zero, dtype) for group in groups])


def _round(k: Kernel, x: Vec) -> Vec:
    kind = ir.VectorType(I32, x.lanes)
    arguments = [x.value]
    if x.lanes == BLOCK:
        arguments += [ir.Constant(kind, None), ir.Constant(I16, -1), ir.Constant(I32, _ROUNDING_OF_THE_CPU)]
    return Vec(k, k.intrinsic(_ROUND[x.lanes], kind, arguments), "i32", x.lanes)


def _packed(k: Kernel, registers: Sequence[Vec], zero: int, dtype: str) -> Vec:
    """The bytes of two or four registers, in their order."""
    size = k.target.lanes
    kind = ir.VectorType(I16, 2 * size)
    pairs = zip(registers[::2], registers[1::2], strict=True)
    words = [k.intrinsic(_TO_WORDS[size], kind, [low.value, high.value]) for low, high in pairs]
    if zero:
        shift = k.const(zero, "i16", 2 * size).value
        words = [k.intrinsic("llvm.sadd.sat", kind, [w, shift], [kind]) for w in words]
    packed = k.intrinsic(_TO_BYTES[dtype, size], ir.VectorType(I8, 4 * size), [words[0], words[-1]])
    quads = Vec(k, k.b.bitcast(packed, ir.VectorType(I32, size)), "i32", size)
    order = [part * _PART + i for i in range(len(registers)) for part in range(size // _PART)]
    ordered = k.shuffle(quads, quads, order)
    return Vec(k, k.b.bitcast(ordered.value, ir.VectorType(I8, 4 * len(order))), dtype, 4 * len(order))
