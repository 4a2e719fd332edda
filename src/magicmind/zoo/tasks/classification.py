"""One class for a picture: the five best, in the files that the scorer of top-1 and top-5 reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.evaluation.classification import LABELS, SHOWN, TOP1, TOP5
from magicmind.zoo import draw, files
from magicmind.zoo.geometry import Array
from magicmind.zoo.preparation import Prepared
from magicmind.zoo.tasks.task import Item, Limits, name_of

BEST = 5


@dataclass(frozen=True)
class Classification:
    """probabilities: whether the network ends in a softmax; else one is taken for what users see.

    says_image: whether `infer_result.txt` names the picture of each block.
    A result is a list of [class, probability], best first.
    """

    probabilities: bool
    says_image: bool
    kind: str = "classification"

    def result(self, outputs: Sequence[Array], prepared: Prepared, limits: Limits) -> Any:
        (scores,) = (np.asarray(o, np.float64).reshape(-1) for o in outputs)
        best = np.argsort(-scores, kind="stable")[:BEST]
        if not self.probabilities:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        return [[int(i), float(scores[i])] for i in best]

    def store(self, folder: Path, item: Item, result: Any, names: Sequence[str]) -> Any:
        return result

    def finish(self, folder: Path, records: Sequence[tuple[Item, Any]], names: Sequence[str]) -> None:
        """A picture that could not be read has a label and no result: it counts as wrong."""
        found = [(item, result) for item, result in records if result is not None]
        labels = [f"[{item.index}]: {item.label}" for item, _ in records if item.label is not None]
        first = [f"[{item.index}]: {result[0][0]}" for item, result in found]
        five = [f"[{item.index}]: {index}" for item, result in found for index, _ in result]
        text = []
        for item, result in found:
            # The published program cuts names off after 23 characters, which takes `.JPEG` off ImageNet's.
            text.append(f"top5 result in {Path(item.name).name[:23]}:" if self.says_image else "top5 result:")
            text += [f"{i} [{name_of(names, index)}]" for i, (index, _) in enumerate(result)]
        for name, lines in ((LABELS, labels), (TOP1, first), (TOP5, five), (SHOWN, text)):
            files.write(folder / name, "".join(f"{line}\n" for line in lines))

    def draw(self, pixels: Array, result: Any, names: Sequence[str]) -> Array:
        return draw.bars(pixels, [(name_of(names, index).split(",")[0], share) for index, share in result])

    def describe(self, result: Any, names: Sequence[str]) -> str:
        return ", ".join(f"{name_of(names, index).split(',')[0]} {100 * share:.1f} %" for index, share in result[:3])

    def class_names(self) -> Sequence[str]:
        return ()
