"""What all the tools have in common: reading the command line, and how they end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from magicmind.errors import Error
from magicmind.mmtools import arguments as grammar
from magicmind.mmtools.arguments import Flag, UsageError

Run = Callable[[Mapping[str, Any]], None]


def run_program(name: str, flags: Sequence[Flag], run: Run, argv: Sequence[str] | None = None) -> int:
    """Runs a tool on its flags' values. Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted; reasons on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or any(word in grammar.HELP for word in words):
        print(grammar.usage(name, flags))
        return 0 if words else 2
    try:
        with _warnings(name):
            values = grammar.parse(flags, words)
            ignored = grammar.without_effect(flags, values)
            if ignored:
                print(f"{name}: {', '.join(ignored)}: no effect on a CPU", file=sys.stderr)
            run(values)
    except UsageError as error:
        return _ended(name, str(error), 2)
    except Error as error:
        return _ended(name, "\n".join([str(error), *getattr(error, "__notes__", ())]), 1)
    except OSError as error:
        return _ended(name, f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), 1)
    except MemoryError as error:
        return _ended(name, f"not enough memory: {error}".removesuffix(": "), 1)
    except KeyboardInterrupt:
        return _ended(name, "interrupted", 130)
    except Exception as error:  # a defect of ours, or a limit of the system: still one line
        logging.getLogger("magicmind").debug(name, exc_info=error)
        return _ended(name, f"{type(error).__name__}: {error}", 1)
    return 0


def _ended(name: str, reason: str, code: int) -> int:
    print(f"{name}: {reason}", file=sys.stderr)
    return code


@contextmanager
def _warnings(name: str) -> Iterator[None]:
    """Warnings of the library on stderr, as the tool's own lines; its errors end the tool and are said there."""
    log, handler = logging.getLogger("magicmind"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    handler.addFilter(lambda record: record.levelno == logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
