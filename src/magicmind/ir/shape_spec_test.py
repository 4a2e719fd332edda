"""The ways to write a dim of an input."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.errors import ShapeError
from magicmind.ir.dims import bounds, symbol
from magicmind.ir.shape_spec import SymbolTable, by_name, parse_dim_spec, sanitise


@pytest.mark.parametrize(
    ("spec", "dim", "allowed"),
    [
        (3, 3, None),
        (np.int64(3), 3, None),
        ("7", 7, None),
        ("1..64", symbol("d"), (1, 64)),
        ("2..", symbol("d"), (2, None)),
        ("n=1..8", symbol("n"), (1, 8)),
        (" n = 4 .. ", symbol("n"), (4, None)),
        ("batch", symbol("batch"), (1, None)),
        ((1, 64), symbol("d"), (1, 64)),
        ((1, None), symbol("d"), (1, None)),
        ("5..5", 5, None),
        ("n=5..5", 5, None),
    ],
)
def test_specs(spec: object, dim: object, allowed: object) -> None:
    assert parse_dim_spec(spec, "d") == (dim, allowed)


@pytest.mark.parametrize(
    "spec",
    [
        0,
        -1,
        "0..0",
        "-1..4",
        "8..2",
        "a b",
        "1...3",
        "..4",
        "",
        "n=",
        1.5,
        None,
        True,
        (1, 2, 3),
        (1.5, 2),
        "-1",
        "1-4",
        (None, 3),
    ],
)
def test_malformed_specs_say_what_is_allowed(spec: object) -> None:
    with pytest.raises(ShapeError, match="is not a dimension") as caught:
        parse_dim_spec(spec, "d")
    assert repr(spec) in str(caught.value) and "lo..hi" in str(caught.value)


def test_names_become_identifiers() -> None:
    names = ["batch", "batch size", "1st", "max", "class", "a-b", ""]
    assert [sanitise(n) for n in names] == ["batch", "batch_size", "_1st", "max_", "class_", "a_b", "_"]


def test_ranges_of_one_symbol_are_intersected() -> None:
    table = SymbolTable()
    table.add("n", (1, 8))
    table.add("n", (4, None))
    assert table.ranges == {"n": (4, 8)}
    with pytest.raises(ShapeError, match="no number in common"):
        table.add("n", (9, 10))


def test_shapes_by_name_or_in_order() -> None:
    assert by_name([(1, 2), (3,)], ["a", "b"]) == {"a": (1, 2), "b": (3,)}
    assert by_name({"b": (3,)}, ["a", "b"]) == {"b": (3,)}
    with pytest.raises(ShapeError, match="no input 'c'"):
        by_name({"c": (3,)}, ["a", "b"])
    with pytest.raises(ShapeError, match="do not fit"):
        by_name([(1,), (2,)], ["a"])


def test_a_dim_that_may_be_0_has_a_symbol_that_says_so() -> None:
    assert parse_dim_spec("0..4", "x_d0") == (symbol("any_x_d0"), (0, 4))
    assert parse_dim_spec("past=0..", "x_d0") == (symbol("any_past"), (0, None))
    assert bounds(symbol("any_past"), {}) == (0, None)
