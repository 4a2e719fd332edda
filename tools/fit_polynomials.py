"""Fits the polynomials of codegen/math.py and prints src/magicmind/codegen/coefficients.py.

    python tools/fit_polynomials.py > src/magicmind/codegen/coefficients.py

Needs mpmath. Each function is rewritten so that the fitted factor is smooth and its error is damped by what multiplies
it, then interpolated at Chebyshev nodes in 200-bit arithmetic (within a small factor of the minimax error). The number
of terms is the smallest that keeps the fit's error below a quarter ULP of the whole function.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp

mp.mp.prec = 200
Function = Callable[[mp.mpf], mp.mpf]


@dataclass(frozen=True)
class Fit:
    """`terms` coefficients per dtype for `function` on `interval` (per dtype where they differ)."""

    name: str
    formula: str
    function: Function
    interval: dict[str, tuple[mp.mpf, mp.mpf]]
    terms: dict[str, int]


def near_zero(limit: mp.mpf, formula: Function) -> Function:
    """`formula` with its removable singularity at 0 filled in."""
    return lambda x: limit if abs(x) < mp.mpf(10) ** -20 else formula(x)


def odd(f: Function, cubic: mp.mpf) -> Function:
    """(f(x) - x f'(0)) / x^3 as a function of z = x^2, for an odd f with f'(0) = 1."""
    return near_zero(cubic, lambda z: (f(mp.sqrt(z)) - mp.sqrt(z)) / mp.sqrt(z) ** 3)


def both(low: mp.mpf, high: mp.mpf) -> dict[str, tuple[mp.mpf, mp.mpf]]:
    return {"f32": (mp.mpf(low), mp.mpf(high)), "f64": (mp.mpf(low), mp.mpf(high))}


HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.0001")
QUARTER_PI = mp.pi / 4 * mp.mpf("1.005")
ERF_SPLIT = 1
# Beyond these erf rounds to one.
ERF_END = {"f32": 4, "f64": 6}
# From here on GELU is max(x, 0), to half an ULP of x / 2.
GELU_END = mp.mpf("5.6")


def erf_tail(dtype: str) -> Function:
    """-log erfc on [1, end], the interval mapped to t in [-1, 1]: a monomial basis is well conditioned only there."""
    middle, half = mp.mpf(ERF_END[dtype] + ERF_SPLIT) / 2, mp.mpf(ERF_END[dtype] - ERF_SPLIT) / 2
    return lambda t: -mp.log(mp.erfc(middle + half * t))


def gelu_factor(t: mp.mpf) -> mp.mpf:
    """erf(x / sqrt 2) / x, the square of x mapped to t in [-1, 1]."""
    x = GELU_END * mp.sqrt((t + 1) / 2)
    return near_zero(mp.sqrt(2 / mp.pi), lambda x: mp.erf(x / mp.sqrt(2)) / x)(x)


def fits() -> list[Fit]:
    third, sixth = mp.mpf(1) / 3, mp.mpf(1) / 6
    return [
        Fit(
            "EXP",
            "exp(r) = 1 + r + r^2 P(r), |r| <= ln(2)/2",
            near_zero(mp.mpf(1) / 2, lambda r: (mp.expm1(r) - r) / r**2),
            both(-HALF_LN2, HALF_LN2),
            {"f32": 5, "f64": 11},
        ),
        Fit(
            "LOG",
            "f32: log(1 + f) = f - f^2/2 + f^3 P(f), sqrt(1/2) <= 1 + f <= sqrt(2)",
            near_zero(third, lambda f: (mp.log1p(f) - f + f * f / 2) / f**3),
            both(mp.sqrt(0.5) - 1, mp.sqrt(2) - 1),
            {"f32": 9},
        ),
        Fit(
            "LOG",
            "f64: log(1 + f) = 2 s + s^3 P(s^2), s = f / (2 + f)",
            near_zero(2 * third, lambda z: (2 * mp.atanh(mp.sqrt(z)) - 2 * mp.sqrt(z)) / mp.sqrt(z) ** 3),
            both(0, mp.mpf("0.02945")),
            {"f64": 8},
        ),
        Fit(
            "ERF",
            "erf(x) = x + x P(x^2), |x| <= 1",
            near_zero(2 / mp.sqrt(mp.pi) - 1, lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1),
            both(0, ERF_SPLIT),
            {"f32": 7, "f64": 13},
        ),
        *(
            Fit(
                "ERF_TAIL",
                f"{dtype}: erf(x) = 1 - exp(-P(t)), x in [1, {ERF_END[dtype]}] mapped to t in [-1, 1]",
                erf_tail(dtype),
                both(-1, 1),
                {dtype: terms},
            )
            for dtype, terms in (("f32", 10), ("f64", 25))
        ),
        Fit(
            "GELU",
            f"erf(x / sqrt 2) = x P(t), |x| <= {mp.nstr(GELU_END, 3)}, t = 2 (x / {mp.nstr(GELU_END, 3)})^2 - 1",
            gelu_factor,
            both(-1, 1),
            {"f32": 17},
        ),
        Fit(
            "SIN",
            "sin(r) = r + r^3 P(r^2), |r| <= pi/4",
            odd(mp.sin, -sixth),
            both(0, QUARTER_PI**2),
            {"f32": 4, "f64": 7},
        ),
        Fit(
            "COS",
            "cos(r) = 1 - r^2/2 + r^4 P(r^2), |r| <= pi/4",
            near_zero(mp.mpf(1) / 24, lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2),
            both(0, QUARTER_PI**2),
            {"f32": 3, "f64": 6},
        ),
        Fit(
            "ATAN",
            "atan(u) = u + u^3 P(u^2), |u| <= tan(pi/8)",
            odd(mp.atan, -third),
            both(0, mp.tan(mp.pi / 8) ** 2 * mp.mpf("1.001")),
            {"f32": 5, "f64": 11},
        ),
        Fit("ASIN", "asin(u) = u + u^3 P(u^2), u <= 1/2", odd(mp.asin, sixth), both(0, 0.25), {"f32": 6, "f64": 13}),
    ]


def rounded(x: mp.mpf, dtype: str) -> float:
    """Nearest float of the dtype."""
    value = float(x)
    return struct.unpack("f", struct.pack("f", value))[0] if dtype == "f32" else value


def high_bits(x: mp.mpf, bits: int) -> mp.mpf:
    """The leading `bits` bits of x, rounded, so that a product with a small integer is exact."""
    exponent = mp.floor(mp.log(abs(x), 2)) + 1
    scale = mp.mpf(2) ** (bits - exponent)
    return mp.nint(x * scale) / scale


def split(x: mp.mpf, bits: int, parts: int, dtype: str) -> list[float]:
    """x as a sum of floats of which all but the last have `bits` bits."""
    result = []
    for _ in range(parts - 1):
        head = high_bits(x, bits)
        result.append(rounded(head, dtype))
        x -= head
    return [*result, rounded(x, dtype)]


def table(name: str, rows: dict[str, list[float]], comments: list[str]) -> str:
    lines = [f"# {c}" for c in comments]
    lines.append(f"{name}: dict[str, tuple[float, ...]] = {{")
    for dtype, values in rows.items():
        lines += [f'    "{dtype}": (', *(f"        {v!r}," for v in values), "    ),"]
    return "\n".join([*lines, "}"])


def main() -> None:
    rows: dict[str, dict[str, list[float]]] = {}
    comments: dict[str, list[str]] = {}
    for fit in fits():
        for dtype, terms in fit.terms.items():
            poly, error = mp.chebyfit(fit.function, list(fit.interval[dtype]), terms, error=True)
            rows.setdefault(fit.name, {})[dtype] = [rounded(c, dtype) for c in poly]
            comments.setdefault(fit.name, []).append(f"{fit.formula}; {dtype}: |error of P| <= {mp.nstr(error, 2)}")
    print('"""Polynomial coefficients, highest power first. Generated by tools/fit_polynomials.py; do not edit."""\n')
    print("\n\n".join(table(name, rows[name], comments[name]) for name in rows))
    ln2 = {"f32": split(mp.log(2), 9, 2, "f32"), "f64": split(mp.log(2), 32, 2, "f64")}
    print("\n" + table("LN2", ln2, ["ln(2), first part short enough for an exact product with an exponent"]))
    half_pi = {"f64": split(mp.pi / 2, 33, 3, "f64")}
    print("\n" + table("HALF_PI", half_pi, ["pi/2 in parts of 33 bits: exact products with integers below 2^20"]))


if __name__ == "__main__":
    main()
