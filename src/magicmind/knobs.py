"""Every setting that the environment can make: name, default, meaning. Read when used, so tests may change them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from magicmind.errors import Error


@dataclass(frozen=True)
class Knob:
    """One environment variable. An empty text counts as not set."""

    name: str
    default: str
    meaning: str

    def text(self) -> str:
        """The value, or the default."""
        return os.environ.get(self.name, "") or self.default

    def integer(self) -> int | None:
        """The value as a whole number; None when not set and without a default. Raises Error on anything else."""
        text = self.text()
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise Error(f"{self.name}={text!r} is not a whole number", hint=f"{self.name}: {self.meaning}") from None

    def names(self) -> tuple[str, ...]:
        """The value as a list of names between commas."""
        return tuple(part.strip() for part in self.text().split(",") if part.strip())

    @contextmanager
    def set(self, value: object) -> Iterator[None]:
        """Holds another value inside a `with` block."""
        before = os.environ.get(self.name)
        os.environ[self.name] = str(value)
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(self.name, None)
            else:
                os.environ[self.name] = before


LOG = Knob("MAGICMIND_LOG", "warning", "log level: debug, info, warning, error")
NUM_THREADS = Knob("MAGICMIND_NUM_THREADS", "", "upper bound of threads for one call")
OMP_NUM_THREADS = Knob(
    "OMP_NUM_THREADS", "", "upper bound of threads for one call, when MAGICMIND_NUM_THREADS is not set"
)
TARGET = Knob("MAGICMIND_TARGET", "", "highest instruction set that may be used, such as x86-64-v3")
CACHE_DIR = Knob(
    "MAGICMIND_CACHE_DIR", "", "folder for measured choices and compiled kernels (default: under XDG_CACHE_HOME)"
)
CACHE_MB = Knob("MAGICMIND_CACHE_MB", "256", "megabytes of compiled kernels to keep in that folder; 0: none")
DUMP = Knob("MAGICMIND_DUMP", "", "folder that receives graphs, loop nests, LLVM IR and assembly")
DUMP_PASSES = Knob("MAGICMIND_DUMP_PASSES", "", "passes to dump, between commas (default: all)")
DEBUG = Knob("MAGICMIND_DEBUG", "0", "1 phases, 2 passes, 3 schedules and loop nests, 4 LLVM IR, 5 assembly")
SKIP = Knob("MAGICMIND_SKIP", "", "passes to leave out, between commas")
STOP = Knob("MAGICMIND_STOP", "", "pass after which the pipeline stops")
CHECK = Knob("MAGICMIND_CHECK", "0", "1 verify the graph after every pass, 2 also run the reference before and after")
REMOTE_TOKEN = Knob("MAGICMIND_REMOTE_TOKEN", "", "token of a remote server, for its clients and for itself")
REMOTE_CA = Knob(
    "MAGICMIND_REMOTE_CA", "", "file of the certificates (PEM) that a remote server's is signed with; switches TLS on"
)
REMOTE_TIMEOUT = Knob("MAGICMIND_REMOTE_TIMEOUT", "60", "seconds that a remote server may be silent")

KNOBS: tuple[Knob, ...] = (
    LOG, NUM_THREADS, OMP_NUM_THREADS, TARGET, CACHE_DIR, CACHE_MB, DUMP, DUMP_PASSES, DEBUG, SKIP, STOP, CHECK,
    REMOTE_TOKEN, REMOTE_CA, REMOTE_TIMEOUT,
)  # fmt: skip


def cache_dir() -> Path:
    """Folder for what may be computed again: MAGICMIND_CACHE_DIR, else XDG_CACHE_HOME, else ~/.cache."""
    if text := CACHE_DIR.text():
        return Path(text)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "magicmind"
