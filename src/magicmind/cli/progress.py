"""A sign of life on stderr while something takes long: what is being done, how far, how long; on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """Shows `what`, and what is reported to the yielded function, until the block ends; silent without a terminal."""
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def report(step: str, done: int, total: int) -> None:
            bar.update(task, description=f"{what}: {step}", completed=done, total=total)

        yield report


def _ignore(step: str, done: int, total: int) -> None:
    """No terminal, no progress."""
