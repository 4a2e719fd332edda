"""What a run has done so far, line by line, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from magicmind.zoo.files import explained

NAME = "progress.jsonl"


class Journal:
    """A file of JSON lines: first what the run is (`key`), then an entry per picture.

    An older file of another run, or of an older model, is started anew. A last line that was cut off is dropped.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self.path = folder / NAME
        self.entries: dict[int, dict[str, Any]] = {}
        self._head = len(_line(key))
        with explained(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            good = self._read(key)
            self._file = self.path.open("r+b" if good else "wb")
            if good:
                self._file.truncate(good)
                self._file.seek(good)
            else:
                self._file.write(_line(key))
                self._file.flush()

    def _read(self, key: Mapping[str, Any]) -> int:
        """Takes over the entries of the same run; how many bytes of the file are good."""
        if not self.path.is_file():
            return 0
        lines = self.path.read_bytes().splitlines(keepends=True)
        if not lines or lines[0] != _line(key):
            return 0
        good = len(lines[0])
        for line in lines[1:]:
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            self.entries[entry["index"]] = entry
            good += len(line)
        return good

    def add(self, entry: dict[str, Any]) -> None:
        """Writes an entry, which has an `index`. Raises Error when there is no room."""
        with explained(self.path):
            self._file.write(_line(entry))
            self._file.flush()
        self.entries[entry["index"]] = entry

    def clear(self) -> None:
        """Begins anew."""
        self.entries.clear()
        with explained(self.path):
            self._file.seek(self._head)
            self._file.truncate()

    def close(self) -> None:
        """What is written stays."""
        # A full disk was reported when it was met; closing would try to write the same line again.
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n"
