"""How dims are written: plain Python, which `dims.parse` reads back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from magicmind.ir.dims import Atom, Dim, Monomial


def atom_text(kind: str, args: tuple[Dim, ...]) -> str:
    """`min(a, b)`, `max(a, b)`, `a//b` or `a % b`."""
    if kind in ("min", "max"):
        return f"{kind}({', '.join(map(str, args))})"
    return f"{_operand_text(args[0])}{kind if kind == '//' else ' % '}{_operand_text(args[1])}"


def _operand_text(dim: Dim) -> str:
    """In parentheses unless it is one name, one call or one natural number."""
    if isinstance(dim, int):
        return str(dim) if dim >= 0 else f"({dim})"
    monomial, coefficient = dim.terms[0]
    if len(dim.terms) == 1 and coefficient == 1 and len(monomial) == 1 and monomial[0].kind not in ("//", "%"):
        return str(dim)
    return f"({dim})"


def _factor_text(atom: Atom) -> str:
    return f"({atom.text})" if atom.kind in ("//", "%") else atom.text


def _term_text(monomial: Monomial, magnitude: int) -> str:
    if not monomial:
        return str(magnitude)
    if magnitude == 1 and len(monomial) == 1:
        return monomial[0].text
    factors = [_factor_text(a) for a in monomial]
    return "*".join(factors if magnitude == 1 else [str(magnitude), *factors])


def terms_text(terms: tuple[tuple[Monomial, int], ...]) -> str:
    """A sum, in the order of its terms."""
    monomial, coefficient = terms[0]
    head = _term_text(monomial, abs(coefficient))
    if coefficient < 0:  # `-N//2` would negate first
        head = f"-({head})" if coefficient == -1 and monomial and monomial[0].kind in ("//", "%") else f"-{head}"
    tail = [f" {'-' if c < 0 else '+'} {_term_text(m, abs(c))}" for m, c in terms[1:]]
    return head + "".join(tail)
