"""The argument grammar of MagicMind's tools: `--key v1 v2 ...`.

Lists are separated by blanks, inner lists by commas (`--input_dims 1,3,224,224 1,2`); booleans are 0, 1, true, false in
any case; `_` is a scalar shape. A repeated or unknown key is an error, `--help`, `-h` and `--h` print the flags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from magicmind.errors import Error

_BOOLEANS = {"0": False, "1": True, "false": False, "true": True}
HELP = ("--help", "-h", "--h")


class UsageError(Error):
    """A command line that does not fit the flags."""


@dataclass(frozen=True)
class Flag:
    """One row of a tool's table. `read` turns the words behind the key into a value; `words` names what is expected."""

    name: str
    read: Callable[[Sequence[str]], Any]
    words: str
    default: Any
    meaning: str
    required: bool = False
    effect: bool = True
    """False: it is about a card; it is read, and changes nothing here."""


def parse(flags: Sequence[Flag], words: Sequence[str]) -> dict[str, Any]:
    """The values by flag name. Raises UsageError naming the word that does not fit."""
    table = {flag.name: flag for flag in flags}
    given: dict[str, list[str]] = {}
    key = None
    for word in words:
        if word.startswith("--") and not _is_number(word[1:]):
            key = word[2:]
            if key not in table:
                raise UsageError(f"unknown flag --{key}", hint=f"flags: {', '.join(f'--{name}' for name in table)}")
            if key in given:
                raise UsageError(f"--{key} is given twice", hint="give all its values behind one key")
            given[key] = []
        elif key is None:
            raise UsageError(f"{word!r} stands before any flag", hint="write --key value ...")
        else:
            given[key].append(word)
    missing = [flag.name for flag in flags if flag.required and flag.name not in given]
    if missing:
        raise UsageError(f"--{missing[0]} is missing", hint=table[missing[0]].meaning)
    return {name: _value(flag, given[name]) if name in given else flag.default for name, flag in table.items()}


def _value(flag: Flag, words: Sequence[str]) -> Any:
    try:
        return flag.read(words)
    except (ValueError, IndexError) as error:
        raise UsageError(f"--{flag.name} {' '.join(words)}: expected {flag.words}") from error


def without_effect(flags: Sequence[Flag], values: Mapping[str, Any]) -> list[str]:
    """Those of the given flags that change nothing, `--name`."""
    return [f"--{flag.name}" for flag in flags if not flag.effect and values[flag.name] is not None]


def usage(program: str, flags: Sequence[Flag]) -> str:
    """The flags with what they take, their defaults and meanings."""
    rows = [f"usage: {program} --key value ...", ""]
    for flag in flags:
        default = "required" if flag.required else f"default {flag.default}" if flag.default is not None else ""
        default = default if flag.effect else "no effect on a CPU"
        rows.append(f"  --{flag.name} {flag.words}".ljust(44) + flag.meaning + (f" ({default})" if default else ""))
    return "\n".join(rows)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def text(words: Sequence[str]) -> str:
    """One word."""
    (word,) = words
    return word


def texts(words: Sequence[str]) -> list[str]:
    """One word or more."""
    return list(words) or [words[0]]


def integer(words: Sequence[str]) -> int:
    """One whole number."""
    return int(text(words))


def natural(words: Sequence[str]) -> int:
    """One whole number, not below zero."""
    return _at_least(0, text(words))


def count(words: Sequence[str]) -> int:
    """One whole number above zero."""
    return _at_least(1, text(words))


def counts(words: Sequence[str]) -> list[int]:
    """Whole numbers above zero, by blanks or commas."""
    return [_at_least(1, part) for part in _parts(words)]


def naturals(words: Sequence[str]) -> list[int]:
    """Whole numbers, none below zero, by blanks or commas."""
    return [_at_least(0, part) for part in _parts(words)]


def count_lists(words: Sequence[str]) -> list[list[int]]:
    """Whole numbers above zero, a list per word."""
    return [counts([word]) for word in texts(words)]


def numbers(words: Sequence[str]) -> list[float]:
    """Numbers by blanks or commas, none of them infinite."""
    return [_finite(part) for part in _parts(words)]


def number_lists(words: Sequence[str]) -> list[list[float]]:
    """Numbers, a list per word; `_` is the empty list."""
    return [[] if word == "_" else numbers([word]) for word in texts(words)]


def boolean(words: Sequence[str]) -> bool:
    """0, 1, true or false; the key alone is true."""
    if not words:
        return True
    word = text(words).lower()
    if word not in _BOOLEANS:
        raise ValueError(word)
    return _BOOLEANS[word]


def shapes(words: Sequence[str]) -> list[tuple[int, ...]]:
    """One shape per word; `_` is a scalar, -1 an open size."""
    return [() if word == "_" else tuple(_at_least(-1, part) for part in word.split(",")) for word in texts(words)]


def choice(*allowed: str) -> Callable[[Sequence[str]], str]:
    """A reader of one of these words."""

    def read(words: Sequence[str]) -> str:
        word = text(words)
        if word not in allowed:
            raise ValueError(word)
        return word

    return read


def choices(*allowed: str) -> Callable[[Sequence[str]], list[str]]:
    """A reader of some of these words, in any case."""
    one = choice(*allowed)
    return lambda words: [one([word.upper()]) for word in texts(words)]


def _parts(words: Sequence[str]) -> list[str]:
    return [part for word in texts(words) for part in word.split(",")]


def _at_least(least: int, word: str) -> int:
    number = int(word)
    if number < least:
        raise ValueError(word)
    return number


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(word)
    return number
