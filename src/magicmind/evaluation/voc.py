"""Pascal VOC's mean average precision of boxes, from one text file of detections for each class.

python -m magicmind.evaluation.voc --path output --devkit_path VOCdevkit --year 2007 --image_set test

A line of `comp3_det_test_<class>.txt` is `image score left top right bottom` in pixels, the first one being 1 as in the
annotations. Prints `AP for <class> = v` and `Mean AP = v`. The rules are the devkit's: a detection takes the object it
overlaps most, by at least half; a second one of the same object is wrong; difficult objects do not count.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from magicmind.evaluation.files import EvaluationError, from_environment, lines_of, program, write_text
from magicmind.evaluation.records import record_score
from magicmind.runtime.host.boxes import overlaps

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Objects:
    """The objects of one class in one image: boxes [n, 4] and which are difficult."""

    boxes: Array
    difficult: Array


@dataclass(frozen=True)
class Detections:
    """Of one class: the image of each, scores [n], boxes [n, 4]."""

    images: Sequence[str]
    scores: Array
    boxes: Array


def detection_file(folder: Path, name: str) -> Path:
    """Where the detections of a class are."""
    return folder / f"comp3_det_test_{name}.txt"


def write_detections(folder: Path, name: str, rows: Sequence[tuple[str, float, Iterable[float]]]) -> None:
    """Writes (image, score, box) of a class."""
    lines = [f"{image} {score:.6f} {' '.join(f'{v:.6f}' for v in box)}\n" for image, score, box in rows]
    write_text(detection_file(folder, name), "".join(lines))


def read_detections(path: Path) -> Detections:
    """The detections of a class; none where there is no file. Raises EvaluationError."""
    lines = [line.split() for line in lines_of(path)] if path.exists() else []
    try:
        numbers = np.array([line[1:] for line in lines], float).reshape(len(lines), 5)
    except ValueError:
        raise EvaluationError(f"{path} has lines that are not `image score left top right bottom`") from None
    return Detections([line[0] for line in lines], numbers[:, 0], numbers[:, 1:])


def read_objects(path: Path) -> dict[str, Objects]:
    """The objects of an annotation (XML) by class. Raises EvaluationError."""
    try:
        root = ElementTree.parse(path).getroot()
        found: dict[str, list[list[float]]] = {}
        for item in root.iter("object"):
            box = [float(item.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
            difficult = float(item.findtext("difficult") or 0)
            found.setdefault((item.findtext("name") or "").strip(), []).append([*box, difficult])
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise EvaluationError(f"{path} is no annotation of VOC: {error}") from error
    tables = {name: np.array(rows) for name, rows in found.items()}
    return {name: Objects(table[:, :4], table[:, 4] > 0) for name, table in tables.items()}


def average_precision(
    found: Detections, truth: Mapping[str, Objects], *, overlap: float = 0.5, eleven_points: bool = False
) -> float:
    """The average precision of one class; `truth` by image, of all images that count. NaN without objects."""
    objects = sum(int((~t.difficult).sum()) for t in truth.values())
    if not objects:
        return float("nan")
    taken = {image: np.zeros(len(t.boxes), bool) for image, t in truth.items()}
    right, wrong = np.zeros(len(found.scores)), np.zeros(len(found.scores))
    order = [i for i in np.argsort(-found.scores, kind="stable") if found.images[i] in truth]
    for place, i in enumerate(order):
        image = found.images[i]
        shares = overlaps(found.boxes[i], truth[image].boxes, border=1)  # corners are pixels inside
        best = int(shares.argmax()) if len(shares) else -1
        if best < 0 or shares[best] < overlap:
            wrong[place] = 1
        elif not truth[image].difficult[best]:
            (wrong if taken[image][best] else right)[place] = 1
            taken[image][best] = True
    hits, misses = right[: len(order)].cumsum(), wrong[: len(order)].cumsum()
    precision = np.divide(hits, hits + misses, out=np.zeros_like(hits), where=hits + misses > 0)
    return _area(hits / objects, precision, eleven_points=eleven_points)


def _area(recall: Array, precision: Array, *, eleven_points: bool) -> float:
    """Under the curve made to fall, or its mean at recalls 0, 0.1, ... 1 (VOC 2007)."""
    if eleven_points:
        best = [precision[recall >= t].max(initial=0.0) for t in np.arange(11) / 10]
        return float(np.mean(best))
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * falling).sum())


def _devkit(given: Path | None, year: str) -> Path:
    """The folder VOC<year>. Raises EvaluationError."""
    variables = (f"VOC{year}_DATASETS_PATH", "VOC_DATASETS_PATH", "DATASETS_PATH")
    folders = [given] if given else from_environment(*variables)
    for folder in folders:
        for candidate in (folder / f"VOC{year}", folder / "VOCdevkit" / f"VOC{year}", folder):
            if (candidate / "Annotations").is_dir():
                return candidate
    raise EvaluationError(
        f"there is no VOC{year}/Annotations in {', '.join(map(str, folders)) or 'any folder'}",
        hint="give --devkit_path",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True, help="folder of comp3_det_test_<class>.txt")
    parser.add_argument("--devkit_path", type=Path, help="folder of VOC<year> (default: $VOC<year>_DATASETS_PATH)")
    parser.add_argument("--year", default="2007")
    parser.add_argument("--image_set", default="test", help="a list in ImageSets/Main (default: %(default)s)")
    parser.add_argument("--image_num", type=int, default=-1, help="so many of the list (default: all)")
    arguments = parser.parse_args(argv)
    folder = _devkit(arguments.devkit_path, arguments.year)
    listed = lines_of(folder / "ImageSets" / "Main" / f"{arguments.image_set}.txt")
    images = [line.split()[0] for line in listed][: arguments.image_num if arguments.image_num >= 0 else None]
    truth = {image: read_objects(folder / "Annotations" / f"{image}.xml") for image in images}
    nothing = Objects(np.zeros((0, 4)), np.zeros(0, bool))
    found = []
    for name in CLASSES:
        of_class = {image: objects.get(name, nothing) for image, objects in truth.items()}
        detections = read_detections(detection_file(arguments.path, name))
        found.append(average_precision(detections, of_class, eleven_points=int(arguments.year) < 2010))
        print(f"AP for {name} = {found[-1]:.4f}")
    counted = [v for v in found if not np.isnan(v)]
    mean = float(np.mean(counted)) if counted else 0.0
    print(f"Mean AP = {mean:.4f}")
    record_score(f"VOC{arguments.year}", "vocmAP", mean)
    return 0


if __name__ == "__main__":
    sys.exit(program(main))
