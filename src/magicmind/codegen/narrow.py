"""Floats of 4, 6 and 8 bits and integers of 2 and 4 bits: storage formats, one element per byte.

In registers they are float32, int8 or uint8 that hold exactly a value of the format. `round_to` brings any number
there, `encode` and `decode` are exact; none of them asks the CPU for arithmetic on denormals, which are zero to it.
Formats: OCP 8-bit Floating Point and Microscaling specifications, and the ones without negative zero of
arXiv:2206.02915; what a cast does with NaN, infinities and overflow is ONNX's table (Cast-24).
"""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.codegen.values import Vec

INFINITY = 0x7F800000


@dataclass(frozen=True)
class SmallFloat:
    """A sign, `bits - 1 - mantissa` bits of exponent with this bias, `mantissa` bits.

    `largest` is finite. `nan` is the code of NaN (None: there is none), `infinity` that of +inf. With `one_zero` the
    code of -0 is NaN.
    """

    bits: int
    mantissa: int
    bias: int
    largest: float
    nan: int | None = None
    infinity: int | None = None
    one_zero: bool = False

    @property
    def sign(self) -> int:
        """The sign's bit."""
        return 1 << (self.bits - 1)

    @property
    def shift(self) -> int:
        """Places between the mantissas of float32 and of this format."""
        return 23 - self.mantissa

    @property
    def first_normal(self) -> float:
        """The smallest number that is no denormal."""
        return float(2.0 ** (1 - self.bias))

    @property
    def step(self) -> float:
        """From one denormal to the next."""
        return float(2.0 ** (1 - self.bias - self.mantissa))

    @property
    def magic(self) -> float:
        """A float32 whose last bit is worth `step`: adding it rounds."""
        return self.step * 2.0**23


SMALL_FLOATS: dict[str, SmallFloat] = {
    "f8e4m3fn": SmallFloat(8, 3, 7, 448.0, nan=0x7F),
    "f8e4m3fnuz": SmallFloat(8, 3, 8, 240.0, nan=0x80, one_zero=True),
    "f8e5m2": SmallFloat(8, 2, 15, 57344.0, nan=0x7E, infinity=0x7C),
    "f8e5m2fnuz": SmallFloat(8, 2, 16, 57344.0, nan=0x80, one_zero=True),
    "f6e2m3": SmallFloat(6, 3, 1, 7.5),
    "f6e3m2": SmallFloat(6, 2, 3, 28.0),
    "f4e2m1": SmallFloat(4, 1, 1, 6.0),
}
POWERS = "f8e8m0"
"""The type of 2^(code - 127), 255 is NaN: an exponent alone."""

SMALL_INTS: dict[str, int] = {"i4": 4, "u4": 4, "i2": 2, "u2": 2}
"""Bits by name; the bits above are zero in memory and not looked at."""


def compute_dtype(dtype: str) -> str | None:
    """What a narrow type is in registers; None for the other types."""
    if dtype in SMALL_INTS:
        return "i8" if dtype[0] == "i" else "u8"
    return "f32" if dtype in SMALL_FLOATS or dtype == POWERS else None


def decode(code: Vec, dtype: str) -> Vec:
    """u8 codes -> f32, i8 or u8, exact."""
    k = code.k
    if dtype in SMALL_INTS:
        return _extend(code, dtype)
    wide = k.convert(code, "u32")
    if dtype == POWERS:
        value = k.select(wide.compare("==", 0), k.const(0x00400000, "u32", code.lanes), wide << 23)
        return k.bitcast(k.select(wide.compare("==", 255), value | 0x00400000, value), "f32")
    f = SMALL_FLOATS[dtype]
    wide = wide & (2 * f.sign - 1)
    magnitude = wide & (f.sign - 1)
    # By way of integers: denormals of float32 are zero at run time.
    denormal = k.bitcast(k.convert(k.convert(magnitude, "i32"), "f32") * f.step, "u32")
    normal = (magnitude << f.shift) + ((127 - f.bias) << 23)
    value = k.select(magnitude.compare("<", (1 << f.mantissa)), denormal, normal)
    if f.infinity is not None:
        value = k.select(magnitude.compare(">=", f.infinity), value | INFINITY, value)
    elif f.nan is not None:
        code_of_nan = wide if f.one_zero else magnitude
        value = k.select(code_of_nan.compare("==", f.nan), value | 0x7FC00000, value)
    return k.bitcast(value | (wide & f.sign) << (32 - f.bits), "f32")


def encode(x: Vec, dtype: str) -> Vec:
    """What `round_to` or `decode` gives -> u8 codes, exact."""
    k = x.k
    if dtype in SMALL_INTS:
        return k.convert(x, "u8") & ((1 << SMALL_INTS[dtype]) - 1)
    bits = k.bitcast(x, "u32")
    if dtype == POWERS:
        return k.convert(bits >> 23, "u8")
    f = SMALL_FLOATS[dtype]
    sign, magnitude = bits >> (32 - f.bits) & f.sign, bits & 0x7FFFFFFF
    value = k.bitcast(magnitude, "f32")
    normal = (magnitude >> f.shift) - ((127 - f.bias) << f.mantissa)
    denormal = k.bitcast(value + f.magic, "u32") & ((1 << f.mantissa) - 1)
    code = k.select(value.compare("<", f.first_normal), denormal, normal)
    if f.infinity is not None:
        code = k.select(magnitude.compare("==", INFINITY), k.const(f.infinity, "u32", x.lanes), code)
    if f.nan is not None:
        code = k.select(magnitude.compare(">", INFINITY), k.const(f.nan, "u32", x.lanes), code)
    return k.convert(code | sign, "u8")


def round_to(x: Vec, dtype: str, saturate: bool = True, round_mode: str = "up") -> Vec:
    """Numbers of any type -> the nearest of a narrow type, as computed with.

    Small floats: halves to even; beyond the largest it is the largest (`saturate`), else infinity, else NaN. `f8e8m0`
    rounds by `round_mode`: up, down or nearest (halves up); what lies outside becomes its limit (`saturate`) or NaN.
    Integers wrap; floats are cut to integers first.
    """
    if dtype in SMALL_INTS:
        return _extend(x.k.convert(x.k.convert(x, "i32") if x.is_float else x, "u8"), dtype)
    if dtype == POWERS:
        return _round_to_power(x, saturate, round_mode)
    return _round_to_float(_to_single(x), SMALL_FLOATS[dtype], saturate)


def _extend(code: Vec, dtype: str) -> Vec:
    """The low bits as a number of a whole byte."""
    k, unused = code.k, 8 - SMALL_INTS[dtype]
    if dtype[0] == "u":
        return code & (0xFF >> unused)
    return k.convert(code << unused, "i8") >> unused


def _to_single(x: Vec) -> Vec:
    """float32 such that a rounding to fewer bits that follows gives what it would have given on x itself.

    A double is rounded to odd: an inexact result has its last bit set, so it is never taken for a half.
    """
    k = x.k
    if x.dtype in ("f32", "bool", "i8", "u8", "i16", "u16"):
        return k.convert(x, "f32")
    double = k.convert(x, "f64")
    nearest = k.convert(double, "f32")
    back, bits = k.convert(nearest, "f64"), k.bitcast(nearest, "u32")
    magnitudes = [k.bitcast(k.bitcast(v, "u64") & 0x7FFFFFFFFFFFFFFF, "f64") for v in (back, double)]
    bits = k.select(magnitudes[0].compare(">", magnitudes[1]), bits - 1, bits)
    return k.bitcast(k.select(back.compare("!=", double), bits | 1, bits), "f32")


def _round_to_float(x: Vec, f: SmallFloat, saturate: bool) -> Vec:
    k = x.k
    bits = k.bitcast(x, "u32")
    magnitude = bits & 0x7FFFFFFF
    last = magnitude >> f.shift & 1
    normal = (magnitude + ((1 << (f.shift - 1)) - 1) + last) & (0xFFFFFFFF >> f.shift << f.shift)
    value = k.bitcast(magnitude, "f32")
    denormal = (value + f.magic) - f.magic  # the addition rounds
    rounded = k.select(value.compare("<", f.first_normal), denormal, k.bitcast(normal, "f32"))
    beyond = rounded.compare(">", f.largest)
    overflow = float("inf") if f.infinity is not None else float("nan")
    limit = f.largest if saturate or f.nan is None else overflow
    rounded = k.select(beyond, k.const(limit, "f32", x.lanes), rounded)
    is_nan = magnitude.compare(">", INFINITY)
    rounded = k.select(is_nan, k.const(0.0 if f.nan is None else float("nan"), "f32", x.lanes), rounded)
    signed = k.bitcast(k.bitcast(rounded, "u32") | bits & 0x80000000, "f32")
    return k.select(rounded.compare("==", 0), rounded, signed) if f.one_zero else signed


def _round_to_power(x: Vec, saturate: bool, round_mode: str) -> Vec:
    """By arithmetic on bits: adding half of the mantissa, or all of it but one, carries into the exponent."""
    k = x.k
    wide = x.dtype not in ("f32", "bool", "i8", "u8", "i16", "u16")
    word, mantissa, bias = ("u64", 52, 1023) if wide else ("u32", 23, 127)
    one = 1 << mantissa
    lowest = (bias - 127) << mantissa if wide else one >> 1  # 2^-127, a denormal of float32
    bits = k.bitcast(k.convert(x, "f64" if wide else "f32"), word)
    magnitude = bits & (bias * 2 + 2) * one - 1
    infinity = (2 * bias + 1) * one
    added = {"down": 0, "nearest": one >> 1, "up": one - 1}[round_mode]
    code = (magnitude + added >> mantissa) - (bias - 127)
    above = {"down": one, "nearest": one // 4 * 3, "up": one // 2 + 1}[round_mode]  # to 2^-126 rather than 2^-127
    if not wide:
        tiny = k.select(magnitude.compare(">=", above), k.const(1, word, x.lanes), 0)
        code = k.select(magnitude.compare("<", one), tiny, code)
    nan = k.const(255, word, x.lanes)
    if saturate:
        code = k.select(code.compare(">", 254), k.const(254, word, x.lanes), code)
        code = k.select(magnitude.compare("<", lowest), k.const(0, word, x.lanes), code)
    else:
        code = k.select(magnitude.compare("<", lowest) | code.compare(">", 254), nan, code)
    negative = bits.compare(">", 1 << (63 if wide else 31))
    code = k.select(negative | magnitude.compare(">", infinity), nan, code)
    return decode(k.convert(code, "u8"), POWERS)
