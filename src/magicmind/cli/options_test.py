from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from magicmind.cli import options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=1,3,224,224", ("x", (1, 3, 224, 224))),
        ("x=1..64,3", ("x", ("1..64", 3))),
        ("x=1..,3", ("x", ("1..", 3))),
        ("ids=N=1..8,S=1..", ("ids", ("N=1..8", "S=1.."))),
        ("scalar=", ("scalar", ())),
    ],
)
def test_shapes(text: str, expected: options.ShapeOption) -> None:
    assert options.shape(text) == expected


@pytest.mark.parametrize("text", ["x", "=1,3", "x=1,,3", "x=-1", "x=a", "x=..4", "x=1.5"])
def test_malformed_shapes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.shape(text)


def test_a_fixed_shape_has_numbers_only() -> None:
    assert options.fixed_shape("x=8,3") == ("x", (8, 3))
    with pytest.raises(argparse.ArgumentTypeError, match="every dim is a number"):
        options.fixed_shape("x=1..8,3")


def test_named_files() -> None:
    assert options.named_file("x=a=b.npy") == ("x", Path("a=b.npy"))
    with pytest.raises(argparse.ArgumentTypeError):
        options.named_file("x=")


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_positive_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.positive(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_positive_seconds_refuses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        options.positive_seconds(text)
