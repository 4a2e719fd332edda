"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, whose place it takes at the end: nobody ever sees half of it.

    After an error the draft is gone, and `path` is as it was.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def replace(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Puts a file of these bytes in the place of `path`; they are on the disk before it is. Raises OSError."""
    with draft_of(path) as draft, open(draft, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
