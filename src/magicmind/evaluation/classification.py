"""Top-1 and top-5 of a classifier, and the files of results they are computed from.

python -m magicmind.evaluation.classification --result_label_file eval_labels.txt --result_1_file eval_result_1.txt
    --result_5_file eval_result_5.txt --top1andtop5_file eval_result.txt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.evaluation.files import EvaluationError, lines_of, program, write_text

LABELS, TOP1, TOP5, SHOWN, SCORES = (
    "eval_labels.txt", "eval_result_1.txt", "eval_result_5.txt", "infer_result.txt", "eval_result.txt",
)  # fmt: skip
"""What a run writes, and what the score writes."""


@dataclass
class Results:
    """Collects what a classifier says of images and writes it as text.

    `names`: of the classes, where people are to read them.
    """

    names: Sequence[str] = ()
    labels: list[int] = field(default_factory=list)
    best: list[list[int]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def add(self, scores: np.ndarray[Any, Any], label: int, image: str = "") -> None:
        """One image: scores of any shape with a number for each class; the five highest count, ties in order."""
        flat = np.asarray(scores).reshape(-1)
        self.best.append([int(i) for i in np.argsort(-flat, kind="stable")[:5]])
        self.labels.append(int(label))
        self.images.append(image)

    def write(self, folder: Path) -> None:
        """The files `eval_labels.txt`, `eval_result_1.txt`, `eval_result_5.txt` and `infer_result.txt`."""
        numbered = list(enumerate(self.best))
        texts = {
            LABELS: [f"[{i}]: {label}" for i, label in enumerate(self.labels)],
            TOP1: [f"[{i}]: {best[0]}" for i, best in numbered],
            TOP5: [f"[{i}]: {found}" for i, best in numbered for found in best],
            SHOWN: [line for i, best in numbered for line in self._shown(self.images[i], best)],
        }
        for name, lines in texts.items():
            write_text(folder / name, "".join(f"{line}\n" for line in lines))

    def _shown(self, image: str, best: Sequence[int]) -> list[str]:
        head = f"top5 result in {image}:" if image else "top5 result:"
        names = [self.names[i] if i < len(self.names) else str(i) for i in best]
        return [head, *(f"{k} [{name}]" for k, name in enumerate(names))]


def class_names(path: Path) -> list[str]:
    """The names in a file of lines `index names`: what follows the first blank."""
    return [line.partition(" ")[2] for line in lines_of(path)]


def labels_of(path: Path) -> list[tuple[str, int]]:
    """(file, label) of a list of lines `file label`. Raises EvaluationError."""
    found = []
    for line in lines_of(path):
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdigit():
            raise EvaluationError(f"{path}: {line!r} is not `file label`")
        found.append((name.strip(), int(label)))
    return found


def top1_and_top5(labels: Sequence[str], first: Sequence[str], five: Sequence[str]) -> tuple[float, float]:
    """The shares of label lines that occur among the lines of results, which name the image and its class.

    Raises EvaluationError when there are no labels.
    """
    if not labels:
        raise EvaluationError("there are no labels to compare with")
    known1, known5 = set(first), set(five)
    return sum(x in known1 for x in labels) / len(labels), sum(x in known5 for x in labels) / len(labels)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result_label_file", type=Path, required=True, help="lines `[i]: label`")
    parser.add_argument("--result_1_file", type=Path, required=True, help="lines `[i]: class`")
    parser.add_argument("--result_5_file", type=Path, required=True, help="five lines `[i]: class` for each image")
    parser.add_argument("--top1andtop5_file", type=Path, help="where the scores are written")
    arguments = parser.parse_args(argv)
    files = (arguments.result_label_file, arguments.result_1_file, arguments.result_5_file)
    labels, first, five = ([line.strip() for line in lines_of(file)] for file in files)
    top1, top5 = top1_and_top5(labels, first, five)
    print("top1: ", top1)
    print("top5: ", top5)
    if arguments.top1andtop5_file:
        write_text(arguments.top1andtop5_file, f"top1 accuracy: {top1:f}\ntop5 accuracy: {top5:f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(program(main))
