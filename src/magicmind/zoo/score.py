"""The fourth step: what a run found against the truth, in the scorers' words, beside what is published."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import Error
from magicmind.evaluation import classification, coco, segmentation
from magicmind.evaluation.files import lines_of
from magicmind.zoo import files
from magicmind.zoo.datasets import Dataset, read_annotations
from magicmind.zoo.infer import Outcome
from magicmind.zoo.recipe import Published
from magicmind.zoo.tasks.task import Item
from magicmind.zoo.workspace import Request


@dataclass(frozen=True)
class Score:
    """figures by name, such as top1, mAP50 or mIoU; `lines` are the scorer's own. None of both without a truth."""

    sample: str
    variant: str
    pictures: int
    broken: int
    figures: Mapping[str, float]
    lines: Sequence[str]
    published: Sequence[Published] = ()
    notes: Sequence[str] = ()
    files: Sequence[Path] = field(default=())

    def as_text(self) -> str:
        """The scorer's lines, and a table of what was found and what is published."""
        if not self.figures:
            return f"{self.sample}: the data set has no truth to score against"
        rows = [f"| {'figure':8} | here |" + "".join(f" {p.board} {p.precision} |" for p in self.published)]
        rows.append("|---" * (2 + len(self.published)) + "|")
        for name, value in self.figures.items():
            if not self.published or any(name in p.figures for p in self.published):
                known = (f" {p.figures[name]:.6g} |" if name in p.figures else " |" for p in self.published)
                rows.append(f"| {name:8} | {value:.6g} |" + "".join(known))
        broken = [f"{self.broken} of {self.pictures} pictures could not be read and count as wrong"] * bool(self.broken)
        return "\n".join([*self.lines, "", *rows, *broken, *self.notes])

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        published = [
            {"precision": p.precision, "batch": p.batch, "board": p.board, **p.figures} for p in self.published
        ]
        return {
            "sample": self.sample, "variant": self.variant, "pictures": self.pictures, "broken": self.broken,
            "figures": dict(self.figures), "published": published, "notes": list(self.notes),
        }  # fmt: skip


def score(request: Request, data: Dataset, outcome: Outcome) -> Score:
    """Scores the files of a run; writes eval.json and eval.md beside them. Raises Error for a missing truth."""
    kinds = {"classification": _classes, "detection": _boxes, "segmentation": _masks}
    figures, lines = kinds[request.task.kind](request, data, outcome) if data.truth else ({}, [])
    sample = request.sample
    batches = {p.batch for p in sample.accuracy if p.precision == request.precision}
    fitting = {request.batch, -1} & batches or batches & {1}
    published = [p for p in sample.accuracy if p.precision == request.precision and p.batch in fitting]
    found = Score(
        sample.name, request.variant, len(data.items), len(outcome.broken), figures, lines, published, sample.notes
    )
    files.write(outcome.folder / "eval.json", json.dumps(found.as_json(), indent=1) + "\n")
    files.write(outcome.folder / "eval.md", found.as_text() + "\n")
    return found


Scored = tuple[dict[str, float], list[str]]


def _classes(request: Request, data: Dataset, outcome: Outcome) -> Scored:
    names = (classification.LABELS, classification.TOP1, classification.TOP5)
    top1, top5 = classification.top1_and_top5(*(lines_of(outcome.folder / name) for name in names))
    text = f"top1 accuracy: {top1:f}\ntop5 accuracy: {top5:f}\n"
    files.write(outcome.folder / classification.SCORES, text)
    return {"top1": top1, "top5": top5}, [f"top1:  {top1}", f"top5:  {top5}"]


_COCO_FIGURES = ("mAP", "mAP50", "mAP75", "small", "medium", "large", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def _boxes(request: Request, data: Dataset, outcome: Outcome) -> Scored:
    if data.annotations is None:
        raise Error(f"{request.sample.name}: there are no annotations", hint="--ann-file FILE, in COCO's form")
    truth = read_annotations(data.annotations)
    numbers = _category_ids(truth["categories"])
    ids = {Path(image["file_name"]).stem: int(image["id"]) for image in truth["images"]}
    stems = [Path(item.name).stem for item in data.items]
    unknown = [stem for stem in stems if stem not in ids]
    if unknown:
        raise Error(f"{data.annotations} knows no picture {unknown[0]!r} ({len(unknown)} of {len(stems)} are unknown)")
    found = [d for stem in stems for d in _detections(outcome.folder / f"{stem}.txt", ids[stem], numbers)]
    json_file = request.data / "json" / f"{request.sample.name}_{request.variant}.json"
    json_file.parent.mkdir(parents=True, exist_ok=True)
    files.write(json_file, json.dumps(found))
    # What VOC calls difficult is no part of its score; COCO's form has no word for it.
    kept = [a for a in truth["annotations"] if not a.get("difficult")]
    annotations = data.annotations
    if len(kept) < len(truth["annotations"]):
        annotations = json_file.with_name(f"{json_file.stem}_truth.json")
        files.write(annotations, json.dumps(truth | {"annotations": kept}))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        stats = coco.score(annotations, found, [ids[stem] for stem in stems])
    lines = [f"num of images: {len(stems)}", *printed.getvalue().rstrip().splitlines()]
    return dict(zip(_COCO_FIGURES, stats, strict=True)), lines


def _category_ids(categories: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Ids of classes by the names that networks have for them: the file's own, and COCO's in both spellings."""
    ids = {category["name"]: int(category["id"]) for category in categories}
    spelled = dict(zip(coco.CLASSES, coco.CATEGORY_IDS, strict=True))
    is_coco = ids.get("toothbrush") == spelled["toothbrush"]
    return spelled | ids if is_coco else ids


def _detections(path: Path, image: int, numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Of one picture; classes that the annotations do not have are left out."""
    for line in lines_of(path):
        name, score, *box = line.rsplit(",", 5)
        if name in numbers:
            left, top, right, bottom = map(float, box)
            bbox = [left, top, right - left, bottom - top]
            yield {"image_id": image, "category_id": numbers[name], "bbox": bbox, "score": float(score)}


def _masks(request: Request, data: Dataset, outcome: Outcome) -> Scored:
    if data.masks is None:
        raise Error(f"{request.sample.name}: the folder SegmentationClass is missing", hint="--gt-dir FOLDER")
    broken = {item.index for item, _ in outcome.broken}
    shares = segmentation.iou(segmentation.total(_pairs(data.items, data.masks, outcome.folder, broken)))
    mean = float(np.nanmean(shares))
    lines = [f"===>{name}:\t{100 * v:.2f}" for name, v in zip(segmentation.CLASSES, shares, strict=True)]
    return {"mIoU": mean}, [*lines, f"mIOU:{100 * mean:.2f}"]


def _pairs(items: Sequence[Item], truth: Path, found: Path, broken: set[int]) -> Iterator[tuple[Any, Any]]:
    for item in items:
        stem = Path(item.name).stem
        labels = segmentation.read_labels(truth / f"{stem}.png")
        nothing = np.full((1, 1), segmentation.IGNORE, np.uint8)  # wrong everywhere
        yield labels, nothing if item.index in broken else segmentation.read_labels(found / f"{stem}.png")
