"""Scores of masks: salient objects (u2net), one class against the rest (unet), nnU-Net's summary.

python -m magicmind.evaluation.masks --pred_dir output --gt_dir masks [--summary summary.json]

Pictures of one name in both folders are compared; a prediction of another size is resized by its nearest pixels. Prints
`average mae: v`, `max fmeasure: v` and `dice: v`, and writes with `--summary` what nnU-Net writes of its results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.evaluation.files import EvaluationError, program, write_text
from magicmind.evaluation.records import record_score
from magicmind.evaluation.segmentation import nearest, read_labels

Array = np.ndarray[Any, Any]

BETA_SQUARED = 0.3
"""Precision counts more than recall. Achanta et al. 2009, "Frequency-tuned salient region detection"."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass
class Scores:
    """Of all masks seen so far. Predictions and truths are uint8 [H, W], from 0 to 255; above 127 is the object."""

    errors: list[float] = field(default_factory=list)
    counts: list[Array] = field(default_factory=list)
    """Per mask int64 [4]: pixels that are the object in both, in the prediction, in the truth, at all."""
    _precision: Array = field(default_factory=lambda: np.zeros(256))
    _recall: Array = field(default_factory=lambda: np.zeros(256))

    def add(self, found: Array, truth: Array) -> None:
        """One more pair; the prediction takes the truth's size."""
        found, wanted = nearest(found, *truth.shape), truth > 127
        self.errors.append(float(np.abs(found / 255.0 - wanted).mean()))
        hits, reached = (_at_least(found[places]) for places in (wanted, np.ones_like(wanted)))
        self._precision += np.divide(hits, reached, out=np.zeros(256), where=reached > 0)
        self._recall += hits / max(int(wanted.sum()), 1)
        chosen = found > 127
        self.counts.append(np.array([(chosen & wanted).sum(), chosen.sum(), wanted.sum(), wanted.size]))

    @property
    def mae(self) -> float:
        """The mean over masks of the mean absolute difference, of values from 0 to 1."""
        return float(np.mean(self.errors))

    @property
    def fmeasure(self) -> float:
        """The greatest over thresholds, of precision and recall averaged over masks."""
        precision, recall = self._precision / len(self.errors), self._recall / len(self.errors)
        below = BETA_SQUARED * precision + recall
        found = np.divide((1 + BETA_SQUARED) * precision * recall, below, out=np.zeros(256), where=below > 0)
        return float(found.max())

    @property
    def dice(self) -> float:
        """The mean over masks of twice what is common over the sum of both; 1 where both are empty."""
        return float(np.mean([measures(counts)["Dice"] for counts in self.counts]))

    def summary(self, names: Sequence[str]) -> dict[str, Any]:
        """As nnU-Net writes it: every case and the mean, class "1"."""
        every = [measures(counts) for counts in self.counts]
        mean = {key: float(np.mean([case[key] for case in every])) for key in every[0]}
        cases = [{"1": case, "reference": name} for case, name in zip(every, names, strict=True)]
        return {"results": {"all": cases, "mean": {"1": mean}}}


def _at_least(values: Array) -> Array:
    """int64 [256]: how many are as great as each threshold."""
    return np.asarray(np.bincount(values.reshape(-1), minlength=256)[::-1].cumsum()[::-1])


def measures(counts: Array) -> dict[str, float]:
    """Accuracy, Dice, Jaccard, Precision and Recall of one mask; 1 for a share of nothing where nothing is wrong."""
    both, found, wanted, total = map(int, counts)
    union = found + wanted - both

    def share(part: int, whole: int) -> float:
        return part / whole if whole else float(union == 0)

    return {
        "Accuracy": share(total - union + both, total),
        "Dice": share(2 * both, found + wanted),
        "Jaccard": share(both, union),
        "Precision": share(both, found),
        "Recall": share(both, wanted),
    }


def _pairs(predictions: Path, truths: Path) -> Iterator[tuple[str, Path, Path]]:
    """Of every truth its prediction.  Raises EvaluationError for one that is missing, and for no truth at all."""
    known = _pictures(predictions)
    wanted = _pictures(truths)
    if not wanted:
        raise EvaluationError(f"{truths} holds no pictures ({', '.join(SUFFIXES)})")
    for stem, truth in wanted.items():
        if stem not in known:
            raise EvaluationError(f"{predictions} has no prediction for {truth.name}")
        yield stem, known[stem], truth


def _pictures(folder: Path) -> Mapping[str, Path]:
    try:
        return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
    except OSError as error:
        raise EvaluationError(f"{folder} cannot be read: {error.strerror or error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pred_dir", type=Path, required=True, help="folder of the predicted masks")
    parser.add_argument("--gt_dir", type=Path, required=True, help="folder of the true masks")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write nnU-Net's summary.json")
    arguments = parser.parse_args(argv)
    scores, names = Scores(), []
    for stem, prediction, truth in _pairs(arguments.pred_dir, arguments.gt_dir):
        scores.add(read_labels(prediction), read_labels(truth))
        names.append(stem)
    print(f"average mae: {scores.mae:.6f}")
    print(f"max fmeasure: {scores.fmeasure:.6f}")
    print(f"dice: {scores.dice:.6f}")
    if arguments.summary:
        write_text(arguments.summary, json.dumps(scores.summary(names), indent=2) + "\n")
    record_score("masks", "dice", scores.dice)
    return 0


if __name__ == "__main__":
    sys.exit(program(main))
