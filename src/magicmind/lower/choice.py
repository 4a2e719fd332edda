"""Who decides among a layer's candidate schedules: the cost model's order, or what was measured (tune/)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chooser:
    """Takes every layer's first candidate, which is the cost model's choice."""

    def pick(self, key: str, candidates: Sequence[T]) -> T:
        """One of the candidates for a layer that `key` describes; equal layers have equal keys."""
        return candidates[0]

    def lowered(self, keys: Sequence[str | None]) -> None:
        """Told once a network is lowered: for every step the key of the choice behind it, if there was one."""
