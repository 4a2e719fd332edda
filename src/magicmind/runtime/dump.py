"""What lies inside a network, as files named after the layers that made it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.dtypes import codes_of
from magicmind.runtime.context import Context
from magicmind.runtime.watched import Array, InnerTensor

_LONGEST = 200
"""Characters of a file's name, of the 255 that file systems allow."""


def file_name(text: str) -> str:
    """The text with nothing but letters, digits, `_`, `.` and `-`."""
    return re.sub(r"[^\w.-]", "_", text)[:_LONGEST]


class Dump:
    """A folder with a file per tensor, `<layer>.npy`, and `tensors.json`, which says what each holds.

    The layer is the last of those that were fused into one; a number follows where it has several tensors. Types that
    numpy lacks are written as their codes.
    """

    def __init__(self, folder: Path) -> None:
        """Makes the folder.  Raises OSError."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._entries: list[dict[str, Any]] = []
        self._taken: set[str] = set()

    def take(self, inner: InnerTensor, array: Array) -> None:
        """Writes a tensor."""
        stem = file_name(inner.layers[-1] or inner.name)
        name, number = stem, 1
        while name.lower() in self._taken:
            name, number = f"{stem}.{number}", number + 1
        self._taken.add(name.lower())
        np.save(self._folder / f"{name}.npy", codes_of(array), allow_pickle=False)
        self._entries.append({
            "file": f"{name}.npy", "tensor": inner.name, "layers": list(inner.layers), "op": inner.op,
            "dtype": array.dtype.name, "shape": list(array.shape),
        })  # fmt: skip

    def close(self) -> None:
        """Writes the list of what was written."""
        (self._folder / "tensors.json").write_text(json.dumps(self._entries, indent=1) + "\n")


def dump(context: Context, feeds: Mapping[str, Array], folder: Path) -> None:
    """Runs once, on one thread, and writes every tensor inside the network.  Raises Error, OSError."""
    found = Dump(folder)
    context.watch(feeds, found.take)
    found.close()
