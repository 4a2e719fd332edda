"""Boxes with classes and scores: a text file per picture, in the form that the scorer of mAP reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.zoo import draw, files
from magicmind.zoo.geometry import Array
from magicmind.zoo.preparation import Prepared
from magicmind.zoo.tasks.task import Item, Limits, name_of

Decode = Callable[[Sequence[Array], float, int], Array]


@dataclass(frozen=True)
class Detection:
    """decode: see `decode.py`. confidence, boxes: smallest score and largest number of what is written.

    shown: smallest score of what is drawn. whole: corners are cut to whole pixels. clipped: boxes end at the picture's
        edge; some networks' authors score them as they are.
    A result is a list of [class, score, left, top, right, bottom] in the picture's pixels, the surest first.
    """

    decode: Decode
    names: tuple[str, ...]
    confidence: float = 0.001
    boxes: int = 100
    shown: float = 0.3
    whole: bool = False
    clipped: bool = True
    kind: str = "detection"

    def result(self, outputs: Sequence[Array], prepared: Prepared, limits: Limits) -> Any:
        confidence = self.confidence if limits.confidence is None else limits.confidence
        rows = self.decode(outputs, confidence, limits.boxes or self.boxes)
        corners = prepared.placement.corners(rows[:, :4])
        if self.whole:
            corners = np.floor(corners)
        height, width = prepared.size
        if self.clipped:
            corners = np.clip(corners, 0, [width, height, width, height])
        kept = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
        return [
            [int(kind), float(score), *map(float, box)]
            for box, score, kind in zip(corners[kept], rows[kept, 4], rows[kept, 5], strict=True)
        ]

    def store(self, folder: Path, item: Item, result: Any, names: Sequence[str]) -> Any:
        """Writes `<stem>.txt`: name,score,left,top,right,bottom."""
        lines = [
            f"{name_of(names, kind)},{score:.6f},{','.join(f'{v:.3f}' for v in box)}\n" for kind, score, *box in result
        ]
        files.write(folder / f"{Path(item.name).stem}.txt", "".join(lines))
        return len(result)

    def finish(self, folder: Path, records: Sequence[tuple[Item, Any]], names: Sequence[str]) -> None:
        """Pictures that could not be read have an empty file: nothing was found in them."""
        for item, result in records:
            if result is None:
                files.write(folder / f"{Path(item.name).stem}.txt", "")

    def draw(self, pixels: Array, result: Any, names: Sequence[str]) -> Array:
        shown = [row for row in result if row[1] >= self.shown]
        boxes = [tuple(row[2:]) for row in shown]
        return draw.boxes(pixels, boxes, [f"{name_of(names, row[0])}: {row[1]:.2f}" for row in shown])

    def describe(self, result: Any, names: Sequence[str]) -> str:
        shown = [f"{name_of(names, row[0])} {row[1]:.2f}" for row in result if row[1] >= self.shown]
        return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "") or "nothing"

    def class_names(self) -> Sequence[str]:
        return self.names
