"""Scores of result files: what a plain count gives, and what is said where the truth is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="the extra 'zoo' is not installed")

from magicmind.errors import Error  # noqa: E402
from magicmind.evaluation.segmentation import save_labels  # noqa: E402
from magicmind.zoo.datasets import Dataset  # noqa: E402
from magicmind.zoo.infer import Outcome  # noqa: E402
from magicmind.zoo.samples import SAMPLES  # noqa: E402
from magicmind.zoo.score import score  # noqa: E402
from magicmind.zoo.tasks.task import Item  # noqa: E402
from magicmind.zoo.workspace import Request  # noqa: E402


def outcome_of(folder: Path, items: list[Item], broken: tuple[int, ...] = ()) -> Outcome:
    folder.mkdir(exist_ok=True)
    return Outcome(folder, [(item, None) for item in items], [(items[i], "cut off") for i in broken])


def items_of(count: int) -> list[Item]:
    return [Item(i, f"{i:012}.jpg", Path(f"{i:012}.jpg")) for i in range(count)]


@pytest.fixture
def coco(tmp_path: Path) -> Dataset:
    """Three pictures with a person each; the annotations call the class as COCO does."""
    people = [{"id": i + 1, "image_id": i, "category_id": 1, "bbox": [10, 20, 30, 40], "area": 1200, "iscrowd": 0}
              for i in range(3)]  # fmt: skip
    truth = {
        "images": [{"id": i, "file_name": f"{i:012}.jpg", "width": 100, "height": 100} for i in range(3)],
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(truth))
    return Dataset(items_of(3), annotations=path)


def test_boxes_are_scored_in_twelve_lines(coco: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="the extra 'zoo' is not installed")
    request = Request(SAMPLES["centernet_pytorch"], root=tmp_path)
    outcome = outcome_of(tmp_path / "out", list(coco.items), broken=(2,))
    for stem, text in (("000000000000", "person,0.9,10,20,40,60\n"), ("000000000001", "person,0.8,10,20,40,50\n")):
        (outcome.folder / f"{stem}.txt").write_text(text)
    (outcome.folder / "000000000002.txt").write_text("")  # it could not be read, and nothing was found in it
    found = score(request, coco, outcome)
    assert found.lines[0] == "num of images: 3"
    assert len(found.lines) == 13
    assert found.lines[1].startswith(" Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.")
    # Both boxes are right at 0.5, at which two of three people are found; one of them at 0.8, as 30 x 30 is 0.75.
    assert found.figures["mAP50"] == pytest.approx(67 / 101)
    assert found.figures["AR100"] == pytest.approx((2 * 6 + 1 * 4) / 3 / 10)
    assert found.broken == 1
    saved = json.loads((outcome.folder / "eval.json").read_text())
    assert saved["figures"] == dict(found.figures)
    assert "S4/X4 force_float32" in (outcome.folder / "eval.md").read_text()
    detections = json.loads((request.data / f"json/centernet_pytorch_{request.variant}.json").read_text())
    assert [d["bbox"] for d in detections] == [[10, 20, 30, 40], [10, 20, 30, 30]]


def test_a_missing_truth_is_named(coco: Dataset, tmp_path: Path) -> None:
    request = Request(SAMPLES["centernet_pytorch"], root=tmp_path)
    others = Dataset(items_of(5), annotations=coco.annotations)
    with pytest.raises(Error, match=r"knows no picture '000000000003' \(2 of 5 are unknown\)"):
        score(request, others, outcome_of(tmp_path / "out", list(others.items)))
    with pytest.raises(Error, match=r"(?s)there are no annotations.*--ann-file"):
        score(request, Dataset(items_of(1)), outcome_of(tmp_path / "out", items_of(1)))
    request = Request(SAMPLES["deeplabv3_tf"], root=tmp_path)
    with pytest.raises(Error, match=r"(?s)SegmentationClass is missing.*--gt-dir"):
        score(request, Dataset(items_of(1)), outcome_of(tmp_path / "out", items_of(1)))
    with pytest.raises(Error, match=r"masks/000000000000.png cannot be read"):
        score(request, Dataset(items_of(1), masks=tmp_path / "masks"), outcome_of(tmp_path / "out", items_of(1)))


def test_masks_are_scored_as_counted_by_hand(tmp_path: Path) -> None:
    request = Request(SAMPLES["deeplabv3_tf"], root=tmp_path)
    rng, items = np.random.default_rng(0), items_of(3)
    (tmp_path / "masks").mkdir()
    outcome = outcome_of(tmp_path / "out", items, broken=(2,))
    counts = np.zeros((21, 21))
    for item in items:
        truth, found = (rng.integers(0, 21, (12, 10)).astype(np.uint8) for _ in range(2))
        found[:6] = truth[:6]
        cv2.imwrite(str(tmp_path / "masks" / f"{Path(item.name).stem}.png"), truth)
        if item.index == 2:
            found[:] = 255  # not read: wrong everywhere, so that its pixels count for their classes
        else:
            save_labels(outcome.folder / f"{Path(item.name).stem}.png", found)
        for t, f in zip(truth.reshape(-1), found.reshape(-1), strict=True):
            if f < 21:
                counts[t, f] += 1
    missed = np.zeros(21)
    np.add.at(missed, cv2.imread(str(tmp_path / "masks/000000000002.png"), cv2.IMREAD_GRAYSCALE).reshape(-1), 1)
    right = np.diag(counts)
    shares = right / (counts.sum(1) + missed + counts.sum(0) - right)
    score_found = score(request, Dataset(items, masks=tmp_path / "masks"), outcome)
    assert score_found.figures["mIoU"] == pytest.approx(shares.mean())
    assert score_found.lines[-1] == f"mIOU:{100 * shares.mean():.2f}"
    assert score_found.lines[0] == f"===>background:\t{100 * shares[0]:.2f}"
