"""float16 and bfloat16 to and from float32, bit for bit, with the CPU's instruction or with integer arithmetic.

LLVM would call a support routine where the CPU has no conversion; the code generator allows no external symbol.
"""

from __future__ import annotations

from magicmind.codegen.target import Target
from magicmind.codegen.values import Vec


def _has_conversion(target: Target) -> bool:
    return not target.is_x86 or "f16c" in target.requires


def half_to_float(bits: Vec) -> Vec:
    """u16 bit patterns -> f32, exact; NaN stays NaN."""
    k = bits.k
    if _has_conversion(k.target):
        return k.convert(k.bitcast(bits, "f16"), "f32")
    wide = k.convert(bits, "u32")
    magnitude = wide & 0x7FFF
    # Denormals by way of integers: those of float32, which shifting them would give, are zero at run time.
    denormal = k.bitcast(k.convert(k.convert(magnitude, "i32"), "f32") * 2.0**-24, "u32")
    value = (magnitude << 13) + (112 << 23)
    value = k.select(magnitude.compare("<", 0x400), denormal, value)
    value = k.select(magnitude.compare(">=", 0x7C00), value | 0x7F800000, value)
    return k.bitcast(value | (wide & 0x8000) << 16, "f32")


def float_to_half(x: Vec) -> Vec:
    """f32 -> u16 bit patterns of the nearest float16, halves to even; beyond the range inf, NaN stays NaN."""
    k = x.k
    if _has_conversion(k.target):
        return k.bitcast(k.convert(x, "f16"), "u16")
    bits = k.bitcast(x, "u32")
    sign = bits >> 16 & 0x8000
    magnitude = bits & 0x7FFFFFFF
    # Normal: drop 13 bits, rounding half to even by carry. A carry out of the mantissa is right, up to infinity.
    odd = magnitude >> 13 & 1
    normal = (magnitude - (112 << 23) + 0xFFF + odd) >> 13
    # Denormal: adding 0.5 leaves the mantissa in units of 2^-24, rounded by the addition itself.
    denormal = k.bitcast(k.bitcast(magnitude, "f32") + 0.5, "u32") - (126 << 23)
    half = k.select(magnitude.compare("<", 113 << 23), denormal, normal)
    half = k.select(magnitude.compare(">=", 0x477FF000), k.const(0x7C00, "u32", x.lanes), half)
    half = k.select(magnitude.compare(">", 0x7F800000), k.const(0x7E00, "u32", x.lanes), half)
    return k.convert(half | sign, "u16")


def bfloat_to_float(bits: Vec) -> Vec:
    """u16 bit patterns of bfloat16 -> f32, exact: they are its upper half."""
    k = bits.k
    return k.bitcast(k.convert(bits, "u32") << 16, "f32")


def float_to_bfloat(x: Vec) -> Vec:
    """f32 -> u16 bit patterns of the nearest bfloat16, halves to even; NaN stays NaN."""
    k = x.k
    bits = k.bitcast(x, "u32")
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    quiet = bits >> 16 | 0x40
    return k.convert(k.select((bits & 0x7FFFFFFF).compare(">", 0x7F800000), quiet, rounded), "u16")
