"""COCO's mean average precision of boxes, from one text file of detections for each image.

python -m magicmind.evaluation.coco --file_list file_list_5000.txt --result_dir output --ann_dir coco
    --data_type val2017 --json_name json/centernet --image_num 1000

A line of `<stem>.txt` is `class,score,left,top,right,bottom` in pixels of the image. The detections are written to
`<json_name>.json` and scored by pycocotools (extra [zoo]) on the listed images alone; mAP at an overlap of 0.5 is
recorded for the sample that runs (`records.record_score`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from magicmind.errors import MissingExtraError
from magicmind.evaluation.files import EvaluationError, first_of, lines_of, names_of, program, write_text
from magicmind.evaluation.records import record_score

CLASSES = (
    "person", "bicycle", "car", "motorbike", "aeroplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "sofa", "pottedplant", "bed", "diningtable", "toilet",
    "tvmonitor", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""In the order of networks, spelt as `coco.names` has them."""

_UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})  # numbers of categories that the annotations never use
CATEGORY_IDS = tuple(i for i in range(1, 91) if i not in _UNUSED)
"""The annotations' number of each class."""

_COCO_SPELLINGS = {
    "motorcycle": "motorbike", "airplane": "aeroplane", "couch": "sofa", "potted plant": "pottedplant",
    "dining table": "diningtable", "tv": "tvmonitor",
}  # fmt: skip
_IDS = dict(zip(CLASSES, CATEGORY_IDS, strict=True))
_IDS |= {coco: _IDS[ours] for coco, ours in _COCO_SPELLINGS.items()}


def category_id(name: str) -> int:
    """The annotations' number of a class in either spelling. Raises EvaluationError."""
    if name not in _IDS:
        raise EvaluationError(f"{name!r} is no class of COCO", hint="classes are spelt as in coco.names")
    return _IDS[name]


def image_id(name: str) -> int:
    """The number of an image from its file's name: the digits that end its stem. Raises EvaluationError."""
    digits = re.search(r"\d+$", Path(name).stem)
    if digits is None:
        raise EvaluationError(f"{name!r} does not end in the number of an image")
    return int(digits[0])


def format_detection(name: str, score: float, box: Sequence[float]) -> str:
    """A line of an image's file; box: left, top, right, bottom."""
    return ",".join([name, *(f"{v:g}" if isinstance(v, int) else f"{float(v):.6f}" for v in (score, *box))])


def read_detections(path: Path, image: int) -> list[dict[str, Any]]:
    """The detections in an image's file as COCO's format has them. Raises EvaluationError."""
    found = []
    for line in lines_of(path):
        fields = line.rsplit(",", 5)
        try:
            score, left, top, right, bottom = map(float, fields[1:])
        except ValueError:
            raise EvaluationError(f"{path}: {line!r} is not class,score,left,top,right,bottom") from None
        box = [left, top, right - left, bottom - top]
        found.append({"image_id": image, "category_id": category_id(fields[0].strip()), "bbox": box, "score": score})
    return found


def collect(names: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """The detections of all images. One without a file, as a detector writes it that finds nothing, has none."""
    found = []
    for name in names:
        path = folder / f"{Path(name).stem}.txt"
        found += read_detections(path, image_id(name)) if path.exists() else []
    return found


def score(annotations: Path, detections: Sequence[dict[str, Any]], images: Sequence[int]) -> list[float]:
    """COCO's twelve figures on these images, printed as COCO does. Raises EvaluationError, MissingExtraError."""
    coco, evaluator = _scorer()
    with contextlib.redirect_stdout(sys.stderr):  # progress, which is no result
        try:
            truth = coco(str(annotations))
        except (OSError, ValueError) as error:
            raise EvaluationError(f"{annotations} cannot be read: {error}") from error
        run = evaluator(truth, _loaded(coco, truth, list(detections)), "bbox")
        run.params.imgIds = sorted(set(images))
        run.evaluate()
        run.accumulate()
    run.summarize()
    return [float(v) for v in run.stats]


def _loaded(coco: Any, truth: Any, detections: list[dict[str, Any]]) -> Any:
    """The detections as the scorer has them; its own reader takes no empty list."""
    if detections:
        return truth.loadRes(detections)
    empty = coco()
    empty.dataset = {**{key: truth.dataset.get(key, []) for key in ("images", "categories")}, "annotations": []}
    empty.createIndex()
    return empty


def _scorer() -> tuple[Any, Any]:
    """The classes of pycocotools, or of faster-coco-eval where that is installed."""
    for package, names in (("pycocotools", ("coco", "cocoeval")), ("faster_coco_eval", ("", ""))):
        try:
            modules = [import_module(f"{package}.{name}".rstrip(".")) for name in names]
        except ModuleNotFoundError:
            continue
        if package == "pycocotools":
            return modules[0].COCO, modules[1].COCOeval
        return modules[0].COCO, modules[0].COCOeval_faster
    raise MissingExtraError(
        "scores of COCO need pycocotools, which is not installed", hint="pip install 'magicmind[zoo]'"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file_list", type=Path, required=True, help="names of images, one in a line")
    parser.add_argument("--result_dir", type=Path, required=True, help="folder of <stem>.txt")
    parser.add_argument("--ann_dir", type=Path, required=True, help="folder of annotations/instances_<data_type>.json")
    parser.add_argument("--data_type", default="val2017")
    parser.add_argument("--json_name", type=Path, required=True, help="where the detections go; .json is added")
    parser.add_argument(
        "--image_num", "--img_num", type=int, default=10, help="so many of the list, -1: all (%(default)s)"
    )
    parser.add_argument("--img_dir", help="accepted; the images are not read")
    parser.add_argument("--infer_mode", help="accepted; the score is the same")
    arguments = parser.parse_args(argv)
    names = names_of(arguments.file_list, arguments.image_num)
    detections = collect(names, arguments.result_dir)
    write_text(arguments.json_name.with_name(f"{arguments.json_name.name}.json"), json.dumps(detections))
    file = f"instances_{arguments.data_type}.json"
    annotations = first_of([arguments.ann_dir / "annotations" / file, arguments.ann_dir / file], "the annotation file")
    print(f"num of images: {len(names)}")
    figures = score(annotations, detections, [image_id(name) for name in names])
    record_score("COCO", "mAP@.5", figures[1])
    return 0


if __name__ == "__main__":
    sys.exit(program(main))
