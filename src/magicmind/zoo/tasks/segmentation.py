"""A class for every pixel: a colour picture per picture, of the network's input size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.evaluation.segmentation import colour, nearest, palette
from magicmind.zoo import draw, files
from magicmind.zoo.geometry import Array, opencv
from magicmind.zoo.preparation import Prepared
from magicmind.zoo.tasks.task import Item, Limits, name_of


@dataclass(frozen=True)
class Segmentation:
    """names: of the classes, the background first. A result is the map itself, uint8 [H, W]."""

    names: tuple[str, ...]
    kind: str = "segmentation"

    def result(self, outputs: Sequence[Array], prepared: Prepared, limits: Limits) -> Any:
        return np.asarray(outputs[0], np.uint8)

    def store(self, folder: Path, item: Item, result: Any, names: Sequence[str]) -> Any:
        """Writes `<stem>.png` in VOC's colours; the journal keeps the share of every class that occurs."""
        _, data = opencv().imencode(".png", colour(result)[:, :, ::-1])
        files.write(folder / f"{Path(item.name).stem}.png", data.tobytes())
        return {str(index): share for index, share in shares(result)}

    def finish(self, folder: Path, records: Sequence[tuple[Item, Any]], names: Sequence[str]) -> None:
        """There are no files of the whole run."""

    def draw(self, pixels: Array, result: Any, names: Sequence[str]) -> Array:
        mask = nearest(result, *pixels.shape[:2])
        legend = [(name_of(names, i), palette()[i], share) for i, share in shares(mask) if i]
        return draw.overlay(pixels, colour(mask)[:, :, ::-1], mask != 0, legend)

    def describe(self, result: Any, names: Sequence[str]) -> str:
        found = sorted((s for s in shares(result) if s[0]), key=lambda s: -s[1])
        return ", ".join(f"{name_of(names, i)} {100 * share:.1f} %" for i, share in found) or "background alone"

    def class_names(self) -> Sequence[str]:
        return self.names


def shares(mask: Array) -> list[tuple[int, float]]:
    """Every class that occurs, and its share of the pixels."""
    count = np.bincount(mask.reshape(-1), minlength=1)
    return [(int(i), float(count[i] / mask.size)) for i in np.flatnonzero(count)]
