"""Tensor dimensions: integers, or canonical integer expressions over named symbols.

`Dim = int | Expr`.  An `Expr` is a sum of `coefficient * product of atoms`; an atom is a symbol, a floor division, a
modulo, a minimum or a maximum.  Symbols stand for integers >= 1 (>= 0 where the name begins with `any_`: sizes that
only data tells), which is all the simplifier assumes about them; ranges come in through `bounds` only.  Two expressions
are equal when their canonical texts are, and the text is plain Python (`4*N + 1`, `(H + 1)//2`, `max(H, W)`), which is
how a dim is stored on the graph and in a plan.

Expressions that become constant are plain `int` again: no `Expr` without symbols exists.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import TypeAlias, Union

from magicmind.errors import ShapeError
from magicmind.ir.dim_intervals import DATA_PREFIX as DATA_PREFIX
from magicmind.ir.dim_intervals import Ranges as Ranges
from magicmind.ir.dim_intervals import interval
from magicmind.ir.dim_text import atom_text, terms_text

Dim: TypeAlias = Union[int, "Expr"]
Monomial: TypeAlias = tuple["Atom", ...]

NO_LOWER_BOUND = -(1 << 63)  # what `bounds` answers where nothing holds the value from below


class Atom:
    """An indivisible factor: `kind` is `symbol`, `//`, `%`, `min` or `max`; `args` are its operands.

    Ordered and compared by its text, which is canonical because its operands are.
    """

    __slots__ = ("args", "kind", "text")

    def __init__(self, kind: str, args: tuple[Dim, ...], name: str = "") -> None:
        self.kind = kind
        self.args = args
        self.text = name or atom_text(kind, args)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Atom) and self.text == other.text

    def __lt__(self, other: Atom) -> bool:
        return self.text < other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Expr:
    """An immutable integer expression; build it with `symbol`, `parse` and operators, never directly."""

    __slots__ = ("_text", "terms")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._text = terms_text(terms)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Dim({self._text})"

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expr) and self._text == other._text

    def __add__(self, other: Dim) -> Dim:
        return _sum([*_terms(self), *_terms(other)])

    def __sub__(self, other: Dim) -> Dim:
        return _sum([*_terms(self), *((m, -c) for m, c in _terms(other))])

    def __rsub__(self, other: int) -> Dim:
        return _sum([*_terms(other), *((m, -c) for m, c in self.terms)])

    def __neg__(self) -> Dim:
        return 0 - self

    def __mul__(self, other: Dim) -> Dim:
        return _sum([(tuple(sorted(m + n)), c * d) for m, c in self.terms for n, d in _terms(other)])

    def __floordiv__(self, other: Dim) -> Dim:
        return _floordiv(self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return _floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return _mod(self, other)

    def __rmod__(self, other: int) -> Dim:
        return _mod(other, self)

    __radd__ = __add__
    __rmul__ = __mul__


# ---------------------------------------------------------------------------------------------------- construction


@cache
def symbol(name: str) -> Expr:
    """The symbol `name`, an unknown integer >= 1 (>= 0 after `any_`).  Raises ShapeError unless an identifier."""
    if not name.isidentifier() or name in ("min", "max"):
        raise ShapeError(f"{name!r} cannot name a dimension", hint="use letters, digits and underscores")
    return Expr((((Atom("symbol", (), name),), 1),))


@lru_cache(maxsize=4096)
def parse(text: str) -> Dim:
    """The dim a text such as `(H + 1)//2` stands for; the inverse of `str`.

    Raises ShapeError for anything but names, integers, `+ - * // %`, `min`, `max` and parentheses.
    """
    try:
        return _from_ast(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError) as error:
        raise ShapeError(
            f"{text!r} is not a dimension: {error}", hint="allowed: names, integers, + - * // % min max ( )"
        ) from None


def ceildiv(a: Dim, b: Dim) -> Dim:
    """The quotient rounded up, for `b` > 0."""
    return (a + b - 1) // b


def dim_min(a: Dim, b: Dim) -> Dim:
    """The smaller of two dims."""
    return _extremum("min", (a, b))


def dim_max(a: Dim, b: Dim) -> Dim:
    """The larger of two dims."""
    return _extremum("max", (a, b))


def product(dims: Iterable[Dim]) -> Dim:
    """The product of all dims; 1 for none."""
    return math.prod(dims, start=1)


def exact_div(num: Dim, den: Dim) -> Dim | None:
    """The quotient when polynomial division leaves no remainder (for every value with `den` != 0), else None."""
    if isinstance(den, int) and isinstance(num, int):
        return num // den if den and num % den == 0 else None
    if den == 0:
        return None
    lead, lead_coefficient = _leading(den)
    quotient: Dim = 0
    while num != 0:
        monomial, coefficient = _leading(num)
        rest = _cancel(monomial, lead)
        if rest is None or coefficient % lead_coefficient:
            return None
        step = _sum([(rest, coefficient // lead_coefficient)])
        quotient = quotient + step
        num = num - step * den
    return quotient


# --------------------------------------------------------------------------------------------------------- queries


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The integer `dim` has once every symbol has its value.  Raises ShapeError for a symbol without one."""
    if isinstance(dim, int):
        return dim
    return sum(c * math.prod(_evaluate_atom(a, values) for a in m) for m, c in dim.terms)


def substitute(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    """`dim` with the named symbols replaced by dims; the others stay."""
    if isinstance(dim, int) or not symbols_of(dim) & values.keys():
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        total = total + product([_substitute_atom(a, values) for a in monomial]) * coefficient
    return total


def narrow(dim: Dim, ranges: Ranges) -> Dim:
    """`dim` without the operands of `min` and `max` that the ranges of the symbols rule out; a quotient or remainder
    that is the same for all of them is that number."""
    if isinstance(dim, int) or not any(part in str(dim) for part in ("min(", "max(", "//", "%")):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        total = total + product([_narrow_atom(a, ranges) for a in monomial]) * coefficient
    return total


def _narrow_atom(atom: Atom, ranges: Ranges) -> Dim:
    if atom.kind == "symbol":
        return _of_atom(atom)
    args = [narrow(a, ranges) for a in atom.args]
    low, high = interval(_of_atom(atom), ranges)
    if low == high and math.isfinite(low):
        return int(low)
    if atom.kind in ("min", "max"):
        for arg in list(args):
            others = [o for o in args if o is not arg]
            if any(_dominates(atom.kind, o, arg, ranges) for o in others):
                args = others
    return _apply(atom.kind, args)


@lru_cache(maxsize=4096)
def symbols_of(dim: Dim) -> frozenset[str]:
    """The names of all symbols in `dim`."""
    if isinstance(dim, int):
        return frozenset()
    names: set[str] = set()
    for monomial, _ in dim.terms:
        for atom in monomial:
            names |= {atom.text} if atom.kind == "symbol" else frozenset().union(*map(symbols_of, atom.args))
    return frozenset(names)


def bounds(dim: Dim, ranges: Ranges) -> tuple[int, int | None]:
    """A (lowest, highest) that holds for every value the symbols may take; by interval arithmetic, so not always tight.

    A symbol without a range is in 1..; no upper bound is None, no lower bound is `NO_LOWER_BOUND`.
    """
    low, high = interval(dim, ranges)
    return (NO_LOWER_BOUND if low == -math.inf else int(low)), (None if high == math.inf else int(high))


# ------------------------------------------------------------------------------------------------- canonical sums


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    return dim.terms if isinstance(dim, Expr) else (((), int(dim)),)


def _sum(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    total: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        total[monomial] = total.get(monomial, 0) + coefficient
    kept = {m: c for m, c in total.items() if c}
    for simplified in (_without_remainder, _without_minimum):
        whole = simplified(kept)
        if whole is not None:
            return whole
    constant = kept.pop((), 0)
    if not kept:
        return constant
    if len(kept) == 1 and not constant:
        return Expr(tuple(kept.items()))
    ordered = sorted(kept.items(), key=_order)
    return Expr((*ordered, ((), constant)) if constant else tuple(ordered))


def _without_remainder(total: Mapping[Monomial, int]) -> Dim | None:
    """The sum where it holds `x - x % c` or its negative, which is `c*(x//c)`: what a size is cut or filled up to."""
    for monomial, coefficient in total.items():
        if len(monomial) == 1 and monomial[0].kind == "%" and abs(coefficient) == 1:
            x, by = monomial[0].args
            terms = _terms(x)
            if isinstance(by, int) and by > 0 and all(total.get(m, 0) == -coefficient * c for m, c in terms):
                rest = {m: c for m, c in total.items() if m != monomial} | {m: 0 for m, _ in terms}
                return _sum(rest.items()) - coefficient * by * _floordiv(x, by)
    return None


def _without_minimum(total: Mapping[Monomial, int]) -> Dim | None:
    """The sum where a minimum goes: `x - min(x, y)`, which is `max(x, y) - y`, and `min(x, y) + max(x - d, y - d)`.

    These are the parts that a tensor is cut into at a place, and their sum; a maximum says that no part is negative.
    """
    for monomial, coefficient in total.items():
        if len(monomial) != 1 or monomial[0].kind != "min" or len(monomial[0].args) != 2:
            continue
        rest = {m: c for m, c in total.items() if m != monomial}
        low = monomial[0].args
        for x, y in (low, low[::-1]):
            if not isinstance(x, int) and all(rest.get(m, 0) == -coefficient * c for m, c in x.terms):
                rest |= {m: 0 for m, _ in x.terms}
                return _sum(rest.items()) - coefficient * (_extremum("max", (x, y)) - y)
        for other, same in rest.items():
            if same == coefficient and len(other) == 1 and other[0].kind == "max" and len(other[0].args) == 2:
                apart = {low[0] - high for high in other[0].args} & {low[1] - high for high in other[0].args}
                for d in sorted(apart, key=str):
                    if {low[0] - d, low[1] - d} == set(other[0].args):
                        return _sum((rest | {other: 0}).items()) + coefficient * (low[0] + low[1] - d)
    return None


def _order(term: tuple[Monomial, int]) -> tuple[int, tuple[str, ...]]:
    """Graded order, which multiplication respects: the polynomial division in `exact_div` relies on it."""
    return -len(term[0]), tuple(a.text for a in term[0])


def _leading(dim: Dim) -> tuple[Monomial, int]:
    return _terms(dim)[0]


def _cancel(monomial: Monomial, factor: Monomial) -> Monomial | None:
    rest = list(monomial)
    for atom in factor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


# ------------------------------------------------------------------------------------------ division and remainder


def _floordiv(num: Dim, den: Dim) -> Dim:
    if den == 0:
        raise ShapeError(f"{num} is divided by 0")
    if isinstance(num, int) and isinstance(den, int):
        return num // den
    exact = exact_div(num, den)
    if exact is not None:
        return exact
    if isinstance(den, int):
        return _floordiv_by_constant(num, den)
    if isinstance(num, int) and num == 0:
        return 0
    return _of_atom(Atom("//", (num, den)))


def _floordiv_by_constant(num: Dim, den: int) -> Dim:
    """floor(num / den): multiples of `den` step out, the common factor cancels, nested divisions merge.

    All three hold for every integer: floor((d*q + r)/d) = q + floor(r/d); floor((g*x + k)/(g*d)) =
    floor((x + floor(k/g))/d); floor((floor(x/a) + c)/b) = floor((x + a*c)/(a*b)) for a, b > 0.
    """
    if den < 0:
        return _floordiv_by_constant(0 - num, -den)
    whole: list[tuple[Monomial, int]] = []
    rest: list[tuple[Monomial, int]] = []
    constant = 0
    for monomial, coefficient in _terms(num):
        if not monomial:
            constant = coefficient
        elif coefficient % den == 0:
            whole.append((monomial, coefficient // den))
        else:
            rest.append((monomial, coefficient))
    whole.append(((), constant // den))
    constant %= den
    common = math.gcd(den, *(c for _, c in rest))
    inner = _sum([*((m, c // common) for m, c in rest), ((), constant // common)])
    return _sum(whole) + _floordiv_atom(inner, den // common)


def _floordiv_atom(num: Dim, den: int) -> Dim:
    if den == 1:
        return num
    low, high = interval(num, {})
    if math.isfinite(low) and low // den == high // den:
        return int(low // den)
    if isinstance(num, Expr):
        monomial, coefficient = num.terms[0]
        offset = num - _sum([(monomial, coefficient)])
        if coefficient == 1 and len(monomial) == 1 and monomial[0].kind == "//" and isinstance(offset, int):
            inner, by = monomial[0].args
            if isinstance(by, int):
                return _floordiv_by_constant(inner + offset * by, by * den)
    return _of_atom(Atom("//", (num, den)))


def _mod(num: Dim, den: Dim) -> Dim:
    if den == 0:
        raise ShapeError(f"{num} is divided by 0")
    if isinstance(num, int) and isinstance(den, int):
        return num % den
    if exact_div(num, den) is not None:
        return 0
    if isinstance(den, int) and den > 0:
        before: Dim | None = None
        while num != before:  # each time around, a remainder inside opens
            before = num
            num = _sum(t for m, c in _terms(num) for t in _terms(c * _inside_remainder(m, den)))
            num = _sum((m, c if -den < c < den and m else c % den) for m, c in _terms(num))
        low, high = interval(num, {})
        if low >= 0 and high < den:
            return num
    return _of_atom(Atom("%", (num, den)))


def _inside_remainder(monomial: Monomial, den: int) -> Dim:
    """A product as it may stand inside a remainder by `den`: a remainder by the same or a multiple as its dividend."""
    if len(monomial) == 1 and monomial[0].kind == "%":
        x, by = monomial[0].args
        if isinstance(by, int) and by > 0 and by % den == 0:
            return x
    return Expr(((monomial, 1),)) if monomial else 1


# --------------------------------------------------------------------------------------------- minimum and maximum


def _extremum(kind: str, args: Iterable[Dim]) -> Dim:
    flat: list[Dim] = []
    for arg in args:
        flat += _operands(kind, arg)
    kept: list[Dim] = []
    for i, arg in enumerate(flat):
        others = [o for j, o in enumerate(flat) if j != i and (o != arg or j < i)]
        if not any(_dominates(kind, o, arg) for o in others):
            kept.append(arg)
    if len(kept) == 1:
        return kept[0]
    return _of_atom(Atom(kind, tuple(sorted(kept, key=str))))


def _operands(kind: str, dim: Dim) -> list[Dim]:
    if isinstance(dim, Expr) and len(dim.terms) == 1:
        monomial, coefficient = dim.terms[0]
        if coefficient == 1 and len(monomial) == 1 and monomial[0].kind == kind:
            return list(monomial[0].args)
    return [dim]


def _dominates(kind: str, a: Dim, b: Dim, ranges: Ranges = MappingProxyType({})) -> bool:
    """Whether `b` may be left out beside `a`; of two equal operands the caller keeps the first."""
    if a == b:
        return True
    first, second = _as_quotient(a), _as_quotient(b)
    if first and second and first[1] == second[1] and _dominates(kind, first[0], second[0], ranges):
        return True  # dividing both by one number keeps their order
    low, high = interval(a - b, ranges)
    return low >= 0 if kind == "max" else high <= 0


def _as_quotient(dim: Dim) -> tuple[Dim, int] | None:
    """Numerator and divisor of `n//d + c`, which is `(n + c*d)//d`; None for all else."""
    for monomial, coefficient in _terms(dim):
        if coefficient == 1 and len(monomial) == 1 and monomial[0].kind == "//":
            offset = dim - _sum([(monomial, 1)])
            numerator, divisor = monomial[0].args
            if isinstance(divisor, int) and isinstance(offset, int):
                return numerator + offset * divisor, divisor
    return None


def _of_atom(atom: Atom) -> Expr:
    return Expr((((atom,), 1),))


# ------------------------------------------------------------------------------------------------ values of atoms


def _evaluate_atom(atom: Atom, values: Mapping[str, int]) -> int:
    if atom.kind == "symbol":
        if atom.text not in values:
            raise ShapeError(f"dimension {atom.text} has no value", hint=f"known: {', '.join(values) or 'none'}")
        return values[atom.text]
    return int(_apply(atom.kind, [evaluate(a, values) for a in atom.args]))  # type: ignore[arg-type]


def _substitute_atom(atom: Atom, values: Mapping[str, Dim]) -> Dim:
    if atom.kind == "symbol":
        return values.get(atom.text, symbol(atom.text))
    return _apply(atom.kind, [substitute(a, values) for a in atom.args])


def _apply(kind: str, args: list[Dim]) -> Dim:
    if kind == "//":
        return _floordiv(args[0], args[1])
    if kind == "%":
        return _mod(args[0], args[1])
    return _extremum(kind, args)


# --------------------------------------------------------------------------------------------------------- parsing


def _from_ast(node: ast.expr) -> Dim:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return symbol(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return 0 - _from_ast(node.operand)
    if isinstance(node, ast.BinOp):
        return _binary_from_ast(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max") and node.args:
        return _extremum(node.func.id, [_from_ast(a) for a in node.args])
    raise ValueError(f"unexpected {type(node).__name__}")


def _binary_from_ast(node: ast.BinOp) -> Dim:
    left, right = _from_ast(node.left), _from_ast(node.right)
    match node.op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.FloorDiv():
            return left // right
        case ast.Mod():
            return left % right
    raise ValueError(f"unexpected operator {type(node.op).__name__}")
