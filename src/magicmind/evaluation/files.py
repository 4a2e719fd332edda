"""What the scores share: lists of names, where data lies, errors of files, programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from magicmind.errors import Error


class EvaluationError(Error):
    """A file of results or of the truth that is missing or malformed."""


def lines_of(path: Path) -> list[str]:
    """The lines of a text file without their ends; empty ones are left out. Raises EvaluationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is no text: {error}") from error
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def names_of(path: Path, count: int) -> list[str]:
    """The first `count` names of a list (-1: all), one in a line, before the first blank; without folders."""
    names = [Path(line.split()[0]).name for line in lines_of(path)]
    return names if count < 0 else names[:count]


def write_text(path: Path, text: str) -> None:
    """Writes a file, and the folders on its way. Raises EvaluationError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{path} cannot be written: {error.strerror or error}") from error


def first_of(candidates: Iterable[Path], what: str) -> Path:
    """The first that exists. Raises EvaluationError."""
    tried = list(candidates)
    for path in tried:
        if path.exists():
            return path
    raise EvaluationError(f"{what} is not found; looked for {', '.join(map(str, tried)) or 'nothing'}")


def from_environment(*names: str) -> list[Path]:
    """The folders that these variables name, as far as they are set."""
    return [Path(os.environ[name]) for name in names if os.environ.get(name)]


def program(main: Callable[[Sequence[str] | None], int]) -> int:
    """Runs a command line; what is wrong with files is one line on stderr and exit code 1."""
    try:
        return main(None)
    except Error as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 1
