"""The part that every task has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from magicmind.zoo.geometry import Array
from magicmind.zoo.preparation import Prepared


@dataclass(frozen=True)
class Item:
    """A picture of a run: its number in the list, its name there, its file, and its class where the list has one."""

    index: int
    name: str
    path: Path
    label: int | None = None


@dataclass(frozen=True)
class Limits:
    """What a user may say about detections. None: the task's own."""

    confidence: float | None = None
    boxes: int | None = None


class Task(Protocol):
    """Turns outputs into results, results into files, pictures and scores. A result is what JSON can hold.

    Arrays that are too large for that are written at once, by `store`.
    """

    @property
    def kind(self) -> str:
        """One word."""
        ...

    def result(self, outputs: Sequence[Array], prepared: Prepared, limits: Limits) -> Any:
        """What the outputs of one picture (without the batch's axis) say."""
        ...

    def store(self, folder: Path, item: Item, result: Any, names: Sequence[str]) -> Any:
        """Writes the picture's own file, if the task has one. Returns what the journal keeps of the result."""
        ...

    def finish(self, folder: Path, records: Sequence[tuple[Item, Any]], names: Sequence[str]) -> None:
        """Writes the files that a whole run has; the result of a picture that could not be read is None."""
        ...

    def draw(self, pixels: Array, result: Any, names: Sequence[str]) -> Array:
        """BGR [H, W, 3] with what was found."""
        ...

    def describe(self, result: Any, names: Sequence[str]) -> str:
        """The result in one line."""
        ...

    def class_names(self) -> Sequence[str]:
        """The names where these come with the package."""
        ...


def name_of(names: Sequence[str], index: int) -> str:
    """A class's name, or its number where there are no names."""
    return names[index] if 0 <= index < len(names) else f"class {index}"
