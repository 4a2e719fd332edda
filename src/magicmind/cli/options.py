"""Arguments that several commands share, and the notations they are written in."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ShapeOption = tuple[str, tuple[int | str, ...]]

_DIM = re.compile(r"(?:[A-Za-z_]\w*=)?\d+\.\.\d*|\d+")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        type=shape,
        action="append",
        metavar="NAME=DIM,...",
        help="shape of an input; a dim is 3, 1..64, 1.. or N=1..64 (may be repeated)",
    )


def add_model(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("model", type=Path, help=what)


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """Files that `entry.main` loads before the command runs."""
    parser.add_argument(
        "--plugin_path", type=Path, action="append", metavar="FILE.py",
        help="Python file that registers operators (docs/guide/plugins.md; may be repeated)",
    )  # fmt: skip


def shape(text: str) -> ShapeOption:
    """`x=1..64,3,224,224` -> ("x", ("1..64", 3, 224, 224)); a dim is 3, 1..64, 1.. or N=1..64; `x=` is a scalar."""
    name, separator, dims = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIM,DIM,...")
    return name, tuple(_dim(part, text) for part in dims.split(",")) if dims else ()


def _dim(part: str, text: str) -> int | str:
    if not _DIM.fullmatch(part):
        raise argparse.ArgumentTypeError(f"{part!r} in {text!r} is not a dim: write 3, 1..64, 1.. or N=1..64")
    return int(part) if part.isdigit() else part


def fixed_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`x=8,3,224,224` -> ("x", (8, 3, 224, 224))."""
    name, dims = shape(text)
    fixed = tuple(dim for dim in dims if isinstance(dim, int))
    if len(fixed) != len(dims):
        raise argparse.ArgumentTypeError(f"{text!r}: here every dim is a number")
    return name, fixed


def named_file(text: str) -> tuple[str, Path]:
    """`x=file.npy` -> ("x", Path("file.npy"))."""
    name, separator, file = text.partition("=")
    if not separator or not name or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE")
    return name, Path(file)


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def positive_seconds(text: str) -> float:
    """A number above zero."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above zero")
    return seconds


def as_dict(pairs: Sequence[tuple[str, T]] | None) -> dict[str, T]:
    """The pairs of a repeated option; the last one of a name counts."""
    return dict(pairs or ())
