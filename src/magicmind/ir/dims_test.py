"""Dims: canonical forms, and agreement with plain integer arithmetic on random expressions."""

from __future__ import annotations

import itertools
import random

import pytest

from magicmind.errors import ShapeError
from magicmind.ir.dims import (
    NO_LOWER_BOUND,
    bounds,
    ceildiv,
    dim_max,
    dim_min,
    evaluate,
    exact_div,
    narrow,
    parse,
    substitute,
    symbol,
    symbols_of,
)

N, M, H = symbol("N"), symbol("M"), symbol("H")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("(4*N)//2", "2*N"),
        ("(4*N + 2)//4", "N"),
        ("(N*16 + 5)//16", "N"),
        ("(6*N + 4)//4", "(3*N)//2 + 1"),
        ("((H + 1)//2 + 1)//2", "(H + 3)//4"),
        ("(H + 2 - 3)//2 + 1", "(H + 1)//2"),
        ("(196*N)//N", "196"),
        ("((N + 1)*(M + 2))//(N + 1)", "M + 2"),
        ("max(N, N + 3, 0)", "N + 3"),
        ("min(5, max(N, 1), 5)", "min(5, N)"),
        ("(16*N + 3) % 16", "3"),
        ("N - N", "0"),
        ("H*N*2 + N*H", "3*H*N"),
        ("-(N//2)*3", "-3*(N//2)"),
        ("5 - N", "-N + 5"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert parse(canonical) == parse(text)


def test_constants_are_plain_integers() -> None:
    assert type(N - N + 3) is int
    assert type(parse("2*3")) is int


def test_operators_with_integers_on_both_sides() -> None:
    assert 2 * N + 1 == N + N + 1
    assert str(7 - N) == "-N + 7"
    assert str(7 // N) == "7//N"
    assert str(100 % N) == "100 % N"
    assert ceildiv(N, 2) == (N + 1) // 2
    assert dim_max(N, 1) == N
    assert dim_min(H, H + 1) == H
    assert len({N + 1, 1 + N, parse("N+1")}) == 1


def test_exact_division() -> None:
    assert exact_div(6 * N * M, 2 * M) == 3 * N
    assert exact_div(N * H + 2 * N, H + 2) == N
    assert exact_div(N + 1, 2) is None
    assert exact_div(7, 2) is None


def test_bounds() -> None:
    assert bounds(4 * N + 1, {"N": (1, 64)}) == (5, 257)
    assert bounds(N // 16, {"N": (1, None)}) == (0, None)
    assert bounds(5 - N, {}) == (NO_LOWER_BOUND, 4)
    assert bounds(N % 16, {"N": (3, 9)}) == (3, 9)


@pytest.mark.parametrize(
    "text", ["N +", "N.x", "f(N)", "N ** 2", "1.5", "N / 2", "'a'", "", "(" * 500, "lambda: 1", "N//0", "3//0", "N % 0"]
)
def test_other_python_is_refused(text: str) -> None:
    with pytest.raises(ShapeError):
        parse(text)


def test_missing_value() -> None:
    with pytest.raises(ShapeError, match="dimension M has no value"):
        evaluate(N + M, {"N": 1})


def _random_text(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(["N", "M", "H", str(rng.randint(0, 9))])
    op = rng.choice(["+", "-", "*", "//", "%", "min", "max"])
    left = _random_text(rng, depth - 1)
    if op in ("min", "max"):
        return f"{op}({left}, {_random_text(rng, depth - 1)})"
    return (
        f"({left}) {op} {rng.randint(1, 9)}" if op in ("//", "%") else f"({left} {op} {_random_text(rng, depth - 1)})"
    )


def test_random_expressions_keep_their_value() -> None:
    rng = random.Random(7)
    for _ in range(600):
        text = _random_text(rng, 4)
        dim = parse(text)
        assert parse(str(dim)) == dim
        for _ in range(3):
            values = {name: rng.randint(1, 20) for name in "NMH"}
            expected = eval(text, {"min": min, "max": max}, dict(values))
            assert evaluate(dim, values) == expected, (text, str(dim), values)
            assert eval(str(dim), {"min": min, "max": max}, dict(values)) == expected
            assert evaluate(substitute(dim, {"N": values["N"], "M": H + 0}), {**values, "M": values["H"]}) == evaluate(
                dim, {**values, "M": values["H"]}
            )
            low, high = bounds(dim, {name: (1, 20) for name in "NMH"})
            assert low <= expected and (high is None or expected <= high)
        assert symbols_of(dim) <= {"N", "M", "H"}


def test_ranges_rule_out_operands_of_min_and_max() -> None:
    length = symbol("L")
    assert narrow(dim_min(length, 11), {"L": (1, 11)}) == length
    assert narrow(dim_min(length, 11) * 2 + 1, {"L": (12, None)}) == 23
    assert narrow(dim_max(length - 3, 0), {"L": (1, 3)}) == 0
    assert narrow(dim_min(length, 11), {"L": (1, 12)}) == dim_min(length, 11)


def test_quotients_of_one_divisor_are_ordered_as_their_numerators() -> None:
    """What pooling that rounds up writes, one after the other."""
    assert dim_min((H + 1) // 4, (H + 3) // 4) == (H + 1) // 4
    assert dim_max((H + 1) // 4 + 2, (H + 3) // 4) == (H + 1) // 4 + 2
    assert dim_min((dim_min((H + 1) // 4, (H + 3) // 4) + 1) // 2, (H + 1) // 8) == (H + 1) // 8
    assert len(str(dim_min((H + 1) // 4, (N + 3) // 4))) > len("(H + 1)//4")


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("H - H % 14", "14*(H//14)"),  # cut down to whole patches
        ("max(0, H - H % 14)//14", "H//14"),
        ("H + (-H) % 4", "-4*((-H)//4)"),  # filled up to whole windows
        ("(H + (4 - H % 4) % 4)//4", "-((-H)//4)"),
        ("(3*(H % 8) + 1) % 4", "(3*H + 1) % 4"),
        ("2*H - (H + 1) % 3", "-((H + 1) % 3) + 2*H"),
        ("(H % 5 - H % 6) % 5", "(H//6) % 5"),
    ],
)
def test_remainders_join_what_they_are_of(text: str, simple: str) -> None:
    found = parse(text)
    assert str(found) == simple
    assert parse(simple) == found
    for size in range(1, 50):
        assert evaluate(found, {"H": size}) == eval(text, {"H": size, "max": max})


def test_what_is_left_of_whole_parts_is_not_more_than_the_whole() -> None:
    n = symbol("N")
    assert dim_min(40 * (n // 40), n) == 40 * (n // 40)
    assert dim_max(40 * (n // 40) + 39, n) == 40 * (n // 40) + 39
    assert dim_min(40 * (n // 40) + 38, n) != n


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("max(N - min(N, 2), 0) + min(N, 2)", "N"),
        ("min(H, N) + max(H - 3, N - 3)", "H + N - 3"),
        ("2*min(N, 7) - 2*N + H", "H - 2*max(7, N) + 14"),
        ("N - min(H, N) + min(H, N)", "N"),
        ("N*min(H, N) - N*N", "-N*N + N*min(H, N)"),
    ],
)
def test_the_parts_on_both_sides_of_a_place_make_the_whole(text: str, simple: str) -> None:
    found = parse(text)
    assert str(found) == simple
    for n, h in itertools.product(range(1, 9), repeat=2):
        assert evaluate(found, {"N": n, "H": h}) == eval(text, {"min": min, "max": max, "N": n, "H": h})
