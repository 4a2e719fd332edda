"""Between which numbers a dim lies, by interval arithmetic on its canonical form.

Source: Moore, Kearfott and Cloud 2009, "Introduction to Interval Analysis", 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from magicmind.ir.dims import Atom, Dim, Expr

Ranges: TypeAlias = Mapping[str, tuple[int, int | None]]
Interval: TypeAlias = tuple[float, float]  # exact integers, or an infinity

DATA_PREFIX = "any_"  # begins the names of symbols that may be 0


def interval(dim: Dim, ranges: Ranges) -> Interval:
    """Numbers that a dim lies between while its symbols are in their ranges."""
    if isinstance(dim, int):
        return dim, dim
    low: float = 0
    high: float = 0
    for monomial, coefficient in dim.terms:
        term: Interval = (coefficient, coefficient)
        for atom in monomial:
            term = _product(term, _of_atom(atom, ranges))
        low, high = low + term[0], high + term[1]
    other = _by_remainder(dim, ranges)
    return (low, high) if other is None else (max(low, other[0]), min(high, other[1]))


def _by_remainder(dim: Expr, ranges: Ranges) -> Interval | None:
    """Where a term is `m*d*(n//d)`, which is `m*n - m*(n % d)`: that tells how it lies beside other terms of `n`."""
    for monomial, coefficient in dim.terms:
        if len(monomial) == 1 and monomial[0].kind == "//":
            n, d = monomial[0].args
            if isinstance(d, int) and d > 0 and coefficient % d == 0:
                times = coefficient // d
                rest = (-times * (d - 1), 0) if times > 0 else (0, -times * (d - 1))
                low, high = interval(dim - (n // d) * coefficient + n * times, ranges)
                return low + rest[0], high + rest[1]
    return None


def _product(a: Interval, b: Interval) -> Interval:
    ends = [0 if x == 0 or y == 0 else x * y for x in a for y in b]
    return min(ends), max(ends)


def _of_atom(atom: Atom, ranges: Ranges) -> Interval:
    if atom.kind == "symbol":
        low, high = ranges.get(atom.text, (0 if atom.text.startswith(DATA_PREFIX) else 1, None))
        return low, math.inf if high is None else high
    args = [interval(a, ranges) for a in atom.args]
    if atom.kind == "min":
        return min(a[0] for a in args), min(a[1] for a in args)
    if atom.kind == "max":
        return max(a[0] for a in args), max(a[1] for a in args)
    num, den = args
    if den[0] <= 0:  # a divisor that may be 0 or negative: nothing is known
        return -math.inf, math.inf
    if atom.kind == "%":
        return (num[0], num[1]) if num[0] >= 0 and num[1] < den[0] else (0, den[1] - 1)
    ends = [_floor_quotient(n, d) for n in num for d in den]
    return min(ends), max(ends)


def _floor_quotient(num: float, den: float) -> float:
    if math.isinf(num):
        return num
    if math.isinf(den):
        return -1 if num < 0 else 0
    return int(num) // int(den)
