"""The chooser that takes given candidates, and notes what there was to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from magicmind.lower.choice import Chooser

T = TypeVar("T")


class Picks(Chooser):
    """Takes the candidates that `picks` names (by `repr`); the cost model's where it names none that exists.

    `at`: the sizes that run-time dims were measured at; part of every key.
    """

    def __init__(self, picks: Mapping[str, str] | None = None, at: str = "") -> None:
        self.picks = dict(picks or {})
        self.candidates: dict[str, tuple[str, ...]] = {}
        """What every layer had to choose from, by key; the cost model's choice first."""
        self.steps: tuple[str | None, ...] = ()
        """The key behind every step of the last network."""
        self._at = at

    def pick(self, key: str, candidates: Sequence[T]) -> T:
        name = key + self._at
        texts = tuple(map(repr, candidates))
        self.candidates[name] = texts
        wanted = self.picks.get(name)
        return candidates[texts.index(wanted)] if wanted in texts else candidates[0]

    def lowered(self, keys: Sequence[str | None]) -> None:
        self.steps = tuple(None if key is None else key + self._at for key in keys)
