"""Mean intersection over union of label maps, and Pascal VOC's coloured pictures of them.

python -m magicmind.evaluation.segmentation --pred_dir output --image_num 1000 [--gt_dir SegmentationClass]
    [--file_list ImageSets/Segmentation/val.txt]
python -m magicmind.evaluation.segmentation --binary --pred_dir output ...      <name>_result.binary, uint8 labels

Predictions may have another size than the truth: the nearest label counts. Pixels that the truth leaves open (255) do
not. Prints `===><class>:\\tX` and `mIOU:X` in percent; of binary files `mIOU : x`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import MissingExtraError
from magicmind.evaluation.files import EvaluationError, first_of, from_environment, names_of, program
from magicmind.evaluation.records import record_score
from magicmind.evaluation.voc import CLASSES as OBJECTS

Array = np.ndarray[Any, Any]

CLASSES = ("background", *OBJECTS)
IGNORE = 255


def palette() -> Array:
    """uint8 [256, 3]: the colour of each label; its bits, three by three, are the high bits of red, green and blue."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((labels >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def colour(labels: Array) -> Array:
    """uint8 [H, W, 3] of labels [H, W]."""
    return np.asarray(palette()[labels.astype(np.uint8)])


def labels_of_colours(pixels: Array) -> Array:
    """uint8 [H, W] of colours [H, W, 3]; what is no colour of a class takes the nearest one, 255 among them."""
    known = np.array([*range(len(CLASSES)), IGNORE])
    colours = palette()[known].astype(int)
    places: Array
    found, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    distance = ((found[:, None].astype(int) - colours) ** 2).sum(axis=2)
    labels: Array = known[distance.argmin(axis=1)].astype(np.uint8)
    return labels[places.reshape(-1)].reshape(pixels.shape[:2])


def nearest(labels: Array, height: int, width: int) -> Array:
    """Labels [H, W] resized: every pixel takes the one under its centre."""
    rows, columns = (
        np.minimum((np.arange(size) + 0.5) * have / size, have - 1).astype(int)
        for size, have in zip((height, width), labels.shape, strict=True)
    )
    return np.asarray(labels[rows[:, None], columns])


def confusion(truth: Array, found: Array, classes: int = len(CLASSES)) -> Array:
    """int64 [classes, classes + 1]: how many pixels of each true label (rows) got which label (columns).

    Only pixels whose true label is a class count; the last column has those that got a label which is none.
    """
    valid = truth < classes
    places = truth[valid].astype(np.int64) * (classes + 1) + np.minimum(found[valid], classes)
    return np.bincount(places, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def iou(counts: Array) -> Array:
    """[classes]: intersection over union from what `confusion` counts; NaN for classes that are nowhere."""
    classes = len(counts)
    hits: Array = np.diagonal(counts[:, :classes]).astype(float)
    union = counts.sum(axis=1) + counts[:, :classes].sum(axis=0) - hits
    return np.asarray(np.divide(hits, union, out=np.full(classes, np.nan), where=union > 0))


# -------------------------------------------------------------------------------------------------------------- files


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "pictures of labels need Pillow, which is not installed", hint="pip install 'magicmind[zoo]'"
        ) from error
    return Image


def read_labels(path: Path) -> Array:
    """uint8 [H, W] of a picture: its indices where it has a palette or is grey, else by colour.

    Raises EvaluationError, MissingExtraError.
    """
    try:
        with _pillow().open(path) as picture:
            if picture.mode in ("P", "L"):
                return np.asarray(picture, np.uint8)
            return labels_of_colours(np.asarray(picture.convert("RGB")))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from error


def save_labels(path: Path, labels: Array) -> None:
    """Writes a picture in VOC's colours."""
    _pillow().fromarray(colour(labels)).save(path)


def read_binary(path: Path, height: int, width: int) -> Array:
    """uint8 [H, W] of a file of labels: of that size, or square. Raises EvaluationError."""
    try:
        labels = np.fromfile(path, np.uint8)
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror or error}") from error
    if labels.size == height * width:
        return labels.reshape(height, width)
    side = math.isqrt(labels.size)
    if not side or side * side != labels.size:
        raise EvaluationError(f"{path} has {labels.size} labels; the truth is {height} x {width}", hint="give --shape")
    return nearest(labels.reshape(side, side), height, width)


def total(pairs: Iterable[tuple[Array, Array]]) -> Array:
    """`confusion` over all (truth, prediction)."""
    counts = np.zeros((len(CLASSES), len(CLASSES) + 1), np.int64)
    for truth, found in pairs:
        counts += confusion(truth, nearest(found, *truth.shape))
    return counts


def _pairs(arguments: argparse.Namespace) -> Iterator[tuple[Array, Array]]:
    for stem in (Path(name).stem for name in names_of(arguments.file_list, arguments.image_num)):
        truth = read_labels(arguments.gt_dir / f"{stem}.png")
        if arguments.binary:
            height, width = arguments.shape or truth.shape
            yield truth, read_binary(arguments.pred_dir / f"{stem}_result.binary", height, width)
        else:
            yield truth, read_labels(arguments.pred_dir / f"{stem}.png")


def _find(arguments: argparse.Namespace) -> None:
    """Fills in where the truth and the list are, from the data set's variable."""
    roots = from_environment("VOC2012_DATASETS_PATH", "VOC_DATASETS_PATH", "DATASETS_PATH")
    folders = [f for root in roots for f in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root)]
    if arguments.gt_dir is None:
        arguments.gt_dir = first_of([f / "SegmentationClass" for f in folders], "SegmentationClass (--gt_dir)")
    if arguments.file_list is None:
        lists = [f / "ImageSets" / "Segmentation" / "val.txt" for f in folders]
        arguments.file_list = first_of(lists, "the list of images (--file_list)")


def _shape(text: str) -> tuple[int, int]:
    height, _, width = text.partition(",")
    return int(height), int(width)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pred_dir", type=Path, required=True, help="folder of the predictions")
    parser.add_argument(
        "--image_num", type=int, default=1000, help="so many of the list, -1: all (default: %(default)s)"
    )
    parser.add_argument("--gt_dir", type=Path, help="folder of the truth (default: in $VOC2012_DATASETS_PATH)")
    parser.add_argument("--file_list", type=Path, help="names of the images (default: VOC2012's val.txt)")
    parser.add_argument("--binary", action="store_true", help="predictions are <name>_result.binary, uint8 labels")
    parser.add_argument(
        "--shape", type=_shape, metavar="H,W", help="of binary predictions (default: the truth's, or square)"
    )
    arguments = parser.parse_args(argv)
    _find(arguments)
    shares = iou(total(_pairs(arguments)))
    mean = float(np.nanmean(shares)) if not np.isnan(shares).all() else 0.0
    if arguments.binary:
        print(f"mIOU : {mean}")
    else:
        for name, share in zip(CLASSES, shares, strict=True):
            print(f"===>{name}:\t{100 * share:.2f}")
        print(f"mIOU:{100 * mean:.2f}")
    record_score("VOC2012", "miou", mean)
    return 0


if __name__ == "__main__":
    sys.exit(program(main))
