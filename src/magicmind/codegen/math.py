"""Elementary functions on `Vec` (f32 and f64, any lanes), written out in the builder's words: no external symbol.

Every function takes and gives floats of one dtype; NaN in gives NaN out, signed zeros and denormals are kept. Bounds
are in units in the last place (ULP) of the result, measured by math_test.py on a dense sample of all float32 patterns
against float64 (f64: against 100-bit arithmetic on fewer points), with and without FMA. Coefficients come from
tools/fit_polynomials.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from magicmind.codegen import coefficients as c
from magicmind.codegen.values import UNSIGNED, Vec

INF, NAN = math.inf, math.nan


@dataclass(frozen=True)
class _Format:
    """An IEEE format: its integer twin, exponent bias, mantissa bits; `magic` rounds to an integer when added."""

    integer: str
    mantissa: int
    bias: int
    magic: float
    magic_bits: int
    sign: int
    tiny: float


_FORMATS = {
    "f32": _Format("i32", 23, 127, 1.5 * 2.0**23, 0x4B400000, 1 << 31, 2.0**-126),
    "f64": _Format("i64", 52, 1023, 1.5 * 2.0**52, 0x4338000000000000, 1 << 63, 2.0**-1022),
}


# -- bits and rounding -------------------------------------------------------------------------------------------------


def _intrinsic(name: str, x: Vec) -> Vec:
    return Vec(x.k, x.k.intrinsic(f"llvm.{name}", x.value.type, [x.value], [x.value.type]), x.dtype, x.lanes)


def sqrt(x: Vec) -> Vec:
    """Correctly rounded; below zero NaN."""
    return _intrinsic("sqrt", x)


def absolute(x: Vec) -> Vec:
    """|x|; of floats the sign bit cleared, of the lowest integer itself."""
    if x.is_float:
        return _intrinsic("fabs", x)
    return x if x.dtype in UNSIGNED else x.k.select(x.compare("<", 0), -x, x)


def floor(x: Vec) -> Vec:
    return _intrinsic("floor", x)


def ceil(x: Vec) -> Vec:
    return _intrinsic("ceil", x)


def truncate(x: Vec) -> Vec:
    """Towards zero."""
    return _intrinsic("trunc", x)


def round_even(x: Vec) -> Vec:
    """To the nearest integer, halves to even."""
    return _intrinsic("roundeven", x)


def copy_sign(magnitude: Vec, sign: Vec) -> Vec:
    """|magnitude| with the sign bit of `sign`."""
    k, f = sign.k, _FORMATS[sign.dtype]
    bit = -f.sign
    bits = (k.bitcast(magnitude, f.integer) & (f.sign - 1)) | (k.bitcast(sign, f.integer) & bit)
    return k.bitcast(bits, sign.dtype)


def polynomial(x: Vec, coefficients: Sequence[float]) -> Vec:
    """Horner's scheme, highest power first."""
    k = x.k
    result = k.const(coefficients[0], x.dtype, x.lanes)
    for coefficient in coefficients[1:]:
        result = k.fma(result, x, k.const(coefficient, x.dtype, x.lanes))
    return result


def _nearest_multiple(x: Vec, reciprocal: float) -> tuple[Vec, Vec]:
    """(n, n as integer) with n = rint(x * reciprocal), |n| < 2^22."""
    k, f = x.k, _FORMATS[x.dtype]
    shifted = k.fma(x, k.const(reciprocal, x.dtype, x.lanes), k.const(f.magic, x.dtype, x.lanes))
    return shifted - f.magic, k.bitcast(shifted, f.integer) - f.magic_bits


def _power_of_two(n: Vec, dtype: str) -> Vec:
    """2^n of an integer vector, n within the normal exponents."""
    f = _FORMATS[dtype]
    return n.k.bitcast((n + f.bias) << f.mantissa, dtype)


# -- exponentials ------------------------------------------------------------------------------------------------------

# exp overflows above `high`; below `low` it rounds to zero. Both keep n in `_exponential` small enough for two factors.
_EXP_RANGE = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}
# Below this expm1 rounds to -1.
_EXPM1_LOW = {"f32": -18.0, "f64": -38.0}


def _reduced(x: Vec, low: float) -> tuple[Vec, Vec]:
    """(n, p) with exp(x) = 2^n (1 + p), p = expm1(r), |r| <= ln(2)/2."""
    k = x.k
    high_part, low_part = c.LN2[x.dtype]
    clamped = k.max(k.min(x, _EXP_RANGE[x.dtype][1]), low)
    n_float, n = _nearest_multiple(clamped, 1 / math.log(2))
    r = k.fma(n_float, k.const(-high_part, x.dtype, x.lanes), clamped)
    r = k.fma(n_float, k.const(-low_part, x.dtype, x.lanes), r)
    return n, k.fma(r * r, polynomial(r, c.EXP[x.dtype]), r)


def exp(x: Vec) -> Vec:
    """e^x; error <= 1.5 ULP (f32), 1.5 ULP (f64), denormal results included; overflows to inf."""
    n, p = _reduced(x, _EXP_RANGE[x.dtype][0])
    # 2^n in two factors: n reaches beyond the exponents at both ends.
    first = _power_of_two(n >> 1, x.dtype)
    second = _power_of_two(n - (n >> 1), x.dtype)
    return x.k.fma(p, first, first) * second


def exp_of_negative(x: Vec) -> Vec:
    """e^x for x <= 0 in fewer operations; error <= 1.5 ULP (f32); results below the normal numbers are zero."""
    low = math.log(_FORMATS[x.dtype].tiny)
    k = x.k
    high_part, low_part = c.LN2[x.dtype]
    clamped = k.max(x, low)
    n_float, n = _nearest_multiple(clamped, 1 / math.log(2))
    r = k.fma(n_float, k.const(-high_part, x.dtype, x.lanes), clamped)
    r = k.fma(n_float, k.const(-low_part, x.dtype, x.lanes), r)
    p = k.fma(r * r, polynomial(r, c.EXP[x.dtype]), r)
    power = _power_of_two(n, x.dtype)
    return k.select(x.compare("<", low), k.const(0.0, x.dtype, x.lanes), k.fma(p, power, power))


def expm1(x: Vec) -> Vec:
    """e^x - 1 without cancellation; error <= 2 ULP (f32, f64)."""
    n, p = _reduced(x, _EXPM1_LOW[x.dtype])
    half = _power_of_two(n - 1, x.dtype)  # 2^n itself overflows for the largest x
    return copy_sign((x.k.fma(p, half, half - 0.5)) * 2.0, x)


def log(x: Vec) -> Vec:
    """Natural logarithm; error <= 1 ULP (f32), 1.5 ULP (f64); log(0) = -inf, below zero NaN."""
    k, f = x.k, _FORMATS[x.dtype]
    denormal = x.compare("<", f.tiny)
    normal = k.select(denormal, x * 2.0**f.mantissa, x)
    root = f.bias - 1 << f.mantissa | int(math.sqrt(0.5) * 2 ** (f.mantissa + 1)) & (1 << f.mantissa) - 1
    bits = k.bitcast(normal, f.integer) - root
    exponent = bits >> f.mantissa
    e = k.convert(exponent, x.dtype) if x.dtype == "f32" else _small_integer(exponent)
    e = k.select(denormal, e - f.mantissa, e)
    fraction = k.bitcast((bits & (1 << f.mantissa) - 1) + root, x.dtype) - 1.0
    finite = _log_f32(fraction, e) if x.dtype == "f32" else _log_f64(fraction, e)
    at_edge = k.select(x.compare("==", 0.0), k.const(-INF, x.dtype, x.lanes), k.const(NAN, x.dtype, x.lanes))
    at_edge = k.select(x.compare(">", 0.0), x, at_edge)
    return k.select(x.compare(">", 0.0) & x.compare("<", INF), finite, at_edge)


def _small_integer(n: Vec) -> Vec:
    """i64 -> f64 for |n| < 2^51, where AVX2 and older have no conversion instruction."""
    f = _FORMATS["f64"]
    return n.k.bitcast(n + f.magic_bits, "f64") - f.magic


def _log_f32(fraction: Vec, e: Vec) -> Vec:
    """log(2^e (1 + fraction)): the large terms are added last."""
    k = fraction.k
    high_part, low_part = c.LN2["f32"]
    square = fraction * fraction
    tail = polynomial(fraction, c.LOG["f32"]) * fraction * square
    tail = k.fma(e, k.const(low_part, "f32", e.lanes), tail)
    tail = k.fma(square, k.const(-0.5, "f32", e.lanes), tail)
    return k.fma(e, k.const(high_part, "f32", e.lanes), fraction + tail)


def _log_f64(fraction: Vec, e: Vec) -> Vec:
    """As `_log_f32`, by s = f / (2 + f): log(1 + f) = f - (f^2/2 - s (f^2/2 + s^2 P(s^2)))."""
    high_part, low_part = c.LN2["f64"]
    s = fraction / (fraction + 2.0)
    z = s * s
    half_square = fraction * fraction * 0.5
    r = z * polynomial(z, c.LOG["f64"])
    return e * high_part - ((half_square - (s * (half_square + r) + e * low_part)) - fraction)


def log1p(x: Vec) -> Vec:
    """log(1 + x) without cancellation; error <= 3 ULP (f32, f64)."""
    k = x.k
    u = x + 1.0
    # log(u) is of the rounded 1 + x; x / (u - 1) undoes the rounding to first order.
    result = log(u) * (x / (u - 1.0))
    result = k.select(u.compare("==", 1.0), x, result)
    return k.select(u.compare("==", INF), u, result)


# -- hyperbolic functions and what networks build from them ------------------------------------------------------------

_TANH_ONE = {"f32": 20.0, "f64": 40.0}


def tanh(x: Vec) -> Vec:
    """expm1(2|x|) / (expm1(2|x|) + 2); error <= 3 ULP (f32, f64)."""
    t = expm1(x.k.min(absolute(x) * 2.0, _TANH_ONE[x.dtype]))
    return copy_sign(t / (t + 2.0), x)


def sigmoid(x: Vec) -> Vec:
    """1 / (1 + e^-x); error <= 3 ULP (f32, f64)."""
    e = exp(-absolute(x))  # never overflows
    return x.k.select(x.compare("<", 0.0), e, x.k.const(1.0, x.dtype, x.lanes)) / (e + 1.0)


def softplus(x: Vec) -> Vec:
    """log(1 + e^x); error <= 3 ULP (f32, f64)."""
    return x.k.max(x, 0.0) + log1p(exp(-absolute(x)))


def sinh(x: Vec) -> Vec:
    """Error <= 4 ULP (f32, f64)."""
    k, a = x.k, absolute(x)
    t = expm1(a)
    small = (t + t / (t + 1.0)) * 0.5
    root = exp(a * 0.5)  # e^a overflows before sinh does
    return copy_sign(k.select(a.compare("<", 20.0), small, (root * 0.5) * root), x)


def cosh(x: Vec) -> Vec:
    """Error <= 4 ULP (f32, f64)."""
    root = exp(absolute(x) * 0.5)  # e^|x| overflows before cosh does
    return (root * 0.5) * root + 0.5 / root / root


_LARGE = {"f32": 2.0**13, "f64": 2.0**28}


def asinh(x: Vec) -> Vec:
    """Error <= 4 ULP (f32, f64)."""
    k, a = x.k, absolute(x)
    square = a * a
    small = log1p(a + square / (sqrt(square + 1.0) + 1.0))
    return copy_sign(k.select(a.compare("<", _LARGE[x.dtype]), small, log(a) + math.log(2)), x)


def acosh(x: Vec) -> Vec:
    """Error <= 4 ULP (f32, f64); below 1 NaN."""
    k, t = x.k, x - 1.0
    small = log1p(t + sqrt(t * (t + 2.0)))
    result = k.select(x.compare("<", _LARGE[x.dtype]), small, log(x) + math.log(2))
    return k.select(x.compare("<", 1.0), k.const(NAN, x.dtype, x.lanes), result)


def atanh(x: Vec) -> Vec:
    """Error <= 4 ULP (f32, f64); beyond -1..1 NaN."""
    a = absolute(x)
    return copy_sign(log1p(a * 2.0 / (1.0 - a)) * 0.5, x)


def erf(x: Vec) -> Vec:
    """The error function; error <= 3 ULP (f32, f64)."""
    k, a = x.k, absolute(x)
    end = {"f32": 4.0, "f64": 6.0}[x.dtype]
    near = k.fma(a, polynomial(x * x, c.ERF[x.dtype]), a)
    t = (k.min(a, end) - (end + 1.0) / 2) * (2 / (end - 1.0))
    far = 1.0 - exp(-polynomial(t, c.ERF_TAIL[x.dtype]))
    return copy_sign(k.select(a.compare("<", 1.0), near, far), x)


_GELU_END = 5.6
"""From here on GELU in f32 is max(x, 0) (tools/fit_polynomials.py)."""


def gelu(x: Vec) -> Vec:
    """x (1 + erf(x / sqrt 2)) / 2; absolute error <= 2.5 ULP of max(|x| / 2, result), 3.5 without fused multiply-add.

    In f32 erf is one polynomial: an error that is small beside 1 will do, where `erf` itself has one that is small
    beside its result.
    """
    k, half = x.k, x * 0.5
    if x.dtype == "f64":
        return k.fma(half, erf(x * math.sqrt(0.5)), half)
    square = x * x
    t = k.fma(square, k.const(2 / _GELU_END**2, x.dtype, x.lanes), k.const(-1.0, x.dtype, x.lanes))
    near = k.fma(half, x * polynomial(t, c.GELU[x.dtype]), half)
    return k.select(square.compare(">=", _GELU_END**2), k.max(x, 0.0), near)


def gelu_tanh(x: Vec) -> Vec:
    """x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2; absolute error <= 4 ULP of max(|x| / 2, result)."""
    half = x * 0.5
    inner = (x * x * x * 0.044715 + x) * math.sqrt(2 / math.pi)
    return x.k.fma(half, tanh(inner), half)


def mish(x: Vec) -> Vec:
    """x tanh(log(1 + e^x)) = x n / (n + 2), n = e^x (e^x + 2); error <= 5 ULP."""
    e = exp(x.k.min(x, _TANH_ONE[x.dtype]))  # the factor is 1 from there on
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


# -- trigonometry ------------------------------------------------------------------------------------------------------


def _quadrant(x: Vec) -> tuple[Vec, Vec]:
    """(n, r) with x = n pi/2 + r, |r| <= pi/4; r is f32 or f64 as x, n is i64."""
    k = x.k
    wide = k.convert(x, "f64")
    n_float, n = _nearest_multiple(wide, 2 / math.pi)
    r = wide
    for part in c.HALF_PI["f64"]:
        r = k.fma(n_float, k.const(-part, "f64", x.lanes), r)
    quarter = math.pi / 4 * 1.001  # beyond 2^50 `r` means nothing any more, but stays a small number
    return n, k.convert(k.max(k.min(r, quarter), -quarter), x.dtype)


def _sin_cos(r: Vec) -> tuple[Vec, Vec]:
    """sin and cos of |r| <= pi/4."""
    k, z = r.k, r * r
    sine = copy_sign(k.fma(r * z, polynomial(z, c.SIN[r.dtype]), r), r)
    cosine = k.fma(z * z, polynomial(z, c.COS[r.dtype]), 1.0 - z * 0.5)
    return sine, cosine


def _turned(x: Vec, quarters: int) -> Vec:
    """sin(x + quarters pi/2)."""
    k = x.k
    n, r = _quadrant(x)
    sine, cosine = _sin_cos(r)
    n = n + quarters
    value = k.select((n & 1).compare("!=", 0), cosine, sine)
    return k.select((n & 2).compare("!=", 0), -value, value)


def sin(x: Vec) -> Vec:
    """Error <= 2 ULP for |x| <= 10^6 (f32), 4 ULP for |x| <= 8 (f64); inf gives NaN.

    Beyond, the absolute error grows as 2^-53 |x|.
    """
    return _turned(x, 0)


def cos(x: Vec) -> Vec:
    """As `sin`."""
    return _turned(x, 1)


def tan(x: Vec) -> Vec:
    """Error <= 4 ULP where `sin` says so."""
    k = x.k
    n, r = _quadrant(x)
    sine, cosine = _sin_cos(r)
    odd = (n & 1).compare("!=", 0)
    return k.select(odd, -cosine, sine) / k.select(odd, sine, cosine)


def atan(x: Vec) -> Vec:
    """Error <= 2.5 ULP (f32, f64)."""
    k, a = x.k, absolute(x)
    one = k.const(1.0, x.dtype, x.lanes)
    steep, middle = a.compare(">", math.tan(3 * math.pi / 8)), a.compare(">", math.tan(math.pi / 8))
    # atan(a) = pi/2 + atan(-1/a) = pi/4 + atan((a - 1)/(a + 1)): one division for all three ranges.
    u = k.select(steep, -one, k.select(middle, a - 1.0, a)) / k.select(steep, a, k.select(middle, a + 1.0, one))
    base = k.select(middle, one * (math.pi / 4), one * 0.0)
    base = k.select(steep, one * (math.pi / 2), base)
    z = u * u
    return copy_sign(base + k.fma(u * z, polynomial(z, c.ATAN[x.dtype]), u), x)


def _asin_parts(x: Vec) -> tuple[Vec, Vec]:
    """(outer, v): |asin x| is v, or pi/2 - 2 v where `outer` (|x| > 1/2)."""
    k, a = x.k, absolute(x)
    outer = a.compare(">", 0.5)
    z = k.select(outer, (1.0 - a) * 0.5, a * a)
    u = k.select(outer, sqrt(z), a)
    return outer, k.fma(u * z, polynomial(z, c.ASIN[x.dtype]), u)


def asin(x: Vec) -> Vec:
    """Error <= 3 ULP (f32, f64); beyond -1..1 NaN."""
    outer, v = _asin_parts(x)
    return copy_sign(x.k.select(outer, math.pi / 2 - v * 2.0, v), x)


def acos(x: Vec) -> Vec:
    """Error <= 3 ULP (f32, f64); beyond -1..1 NaN."""
    k = x.k
    outer, v = _asin_parts(x)
    far = k.select(x.compare("<", 0.0), math.pi - v * 2.0, v * 2.0)
    return k.select(outer, far, math.pi / 2 - copy_sign(v, x))


# -- powers ------------------------------------------------------------------------------------------------------------


def power(x: Vec, y: Vec) -> Vec:
    """x^y with C's special cases; error <= 1 ULP (f32, through f64), about (1 + |y log x|) ULP (f64)."""
    k = x.k
    wide_x, wide_y = k.convert(x, "f64"), k.convert(y, "f64")
    magnitude = exp(wide_y * log(absolute(wide_x)))
    whole = round_even(wide_y).compare("==", wide_y)
    half = wide_y * 0.5
    odd = whole & round_even(half).compare("!=", half)
    result = k.select(odd, copy_sign(magnitude, wide_x), magnitude)
    # A negative finite base needs a whole exponent; -inf behaves as +inf does.
    undefined = wide_x.compare("<", 0.0) & wide_x.compare("!=", -INF) & whole.compare("==", 0)
    result = k.select(undefined, k.const(NAN, "f64", x.lanes), result)
    unit = absolute(wide_x).compare("==", 1.0) & absolute(wide_y).compare("==", INF)
    one = wide_x.compare("==", 1.0) | wide_y.compare("==", 0.0) | unit
    return k.convert(k.select(one, k.const(1.0, "f64", x.lanes), result), x.dtype)


def whole_power(x: Vec, n: int) -> Vec:
    """x^n for a constant whole n by repeated squaring; error <= 2 |n| ULP at worst (integers wrap)."""
    result: Vec | None = None
    square, left = x, abs(n)
    while left:
        if left & 1:
            result = square if result is None else result * square
        left >>= 1
        square = square * square if left else square
    if result is None:
        return x.k.const(1, x.dtype, x.lanes)
    return 1.0 / result if n < 0 else result
