"""Files of results: whole or not at all, and messages that say what to do where there is no room."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from magicmind.errors import Error
from magicmind.files import draft_of


def write(path: Path, data: bytes | str) -> None:
    """Replaces a file in one step. Raises Error where that is not possible."""
    with explained(path), draft_of(path) as draft:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns errors of the system about a file that is written into ours."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "what is done is kept: make room and run the same command again" if full else "check the folder's rights"
        raise Error(f"{path} cannot be written: {error.strerror or error}", hint=hint) from error
