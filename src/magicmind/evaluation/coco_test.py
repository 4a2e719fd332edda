"""COCO's figures against its rules as they are written down, on random boxes; files to the byte."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicmind.errors import MissingExtraError
from magicmind.evaluation import coco
from magicmind.evaluation.coco import CATEGORY_IDS, CLASSES, category_id, format_detection, image_id, main
from magicmind.evaluation.files import EvaluationError

Box = Sequence[float]
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
NAMES = ["000000000139.jpg", "000000000285.jpg", "000000000632.jpg", "000000000724.jpg"]


def iou(found: Box, true: Box, crowd: bool) -> float:
    """Boxes are left, top, width, height."""
    width = min(found[0] + found[2], true[0] + true[2]) - max(found[0], true[0])
    height = min(found[1] + found[3], true[1] + true[3]) - max(found[1], true[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared, own = width * height, found[2] * found[3]
    return shared / (own if crowd else own + true[2] * true[3] - shared)


def matched(
    found: list[dict[str, Any]], true: list[dict[str, Any]], overlap: float, area: tuple[float, float]
) -> tuple[list[tuple[float, bool]], int]:
    """(score, right) of the detections of one image and category that count, and how many objects do."""
    ignored = [t["iscrowd"] == 1 or not area[0] <= t["area"] <= area[1] for t in true]
    order = sorted(range(len(true)), key=lambda i: ignored[i])  # stable
    taken: set[int] = set()
    result = []
    for d in found:
        best, best_iou = -1, min(overlap, 1 - 1e-10)
        for g in order:
            if g in taken and not true[g]["iscrowd"]:
                continue
            if best >= 0 and not ignored[best] and ignored[g]:
                break
            share = iou(d["bbox"], true[g]["bbox"], true[g]["iscrowd"] == 1)
            if share >= best_iou:
                best, best_iou = g, share
        if best >= 0:
            taken.add(best)
        size = d["bbox"][2] * d["bbox"][3]
        if (best >= 0 and ignored[best]) or (best < 0 and not area[0] <= size <= area[1]):
            continue
        result.append((d["score"], best >= 0))
    return result, ignored.count(False)


def figures(truth: dict[str, Any], found: list[dict[str, Any]], images: Sequence[int]) -> list[float]:
    """The twelve figures."""

    def mean(kind: str, overlaps: Sequence[float], area: str, most: int) -> float:
        values = []
        for overlap in overlaps:
            for category in sorted({c["id"] for c in truth["categories"]}):
                rows: list[tuple[float, bool]] = []
                objects = 0
                for image in sorted(set(images)):
                    here = [d for d in found if (d["image_id"], d["category_id"]) == (image, category)]
                    here = sorted(here, key=lambda d: -d["score"])[:most]
                    true = [a for a in truth["annotations"] if (a["image_id"], a["category_id"]) == (image, category)]
                    part, count = matched(here, true, overlap, AREAS[area])
                    rows, objects = rows + part, objects + count
                if not objects:
                    continue
                hits = np.cumsum([right for _, right in sorted(rows, key=lambda r: -r[0])])
                recall, precision = hits / objects, hits / np.arange(1, len(hits) + 1)
                if kind == "AR":
                    values.append(float(recall[-1]) if len(recall) else 0.0)
                    continue
                for i in range(len(precision) - 1, 0, -1):
                    precision[i - 1] = max(precision[i - 1], precision[i])
                points = np.searchsorted(recall, np.linspace(0, 1, 101))
                values.append(float(np.mean([precision[p] if p < len(precision) else 0 for p in points])))
        return float(np.mean(values)) if values else -1.0

    every = [float(v) for v in np.linspace(0.5, 0.95, 10)]
    return [
        mean("AP", every, "all", 100), mean("AP", [0.5], "all", 100), mean("AP", [0.75], "all", 100),
        *(mean("AP", every, area, 100) for area in ("small", "medium", "large")),
        *(mean("AR", every, "all", most) for most in (1, 10, 100)),
        *(mean("AR", every, area, 100) for area in ("small", "medium", "large")),
    ]  # fmt: skip


def random_truth(rng: np.random.Generator, names: Sequence[str]) -> dict[str, Any]:
    """Objects of three classes of all sizes, some of them crowds."""
    annotations = []
    for number in range(30):
        size = rng.choice([12, 50, 150], p=[0.3, 0.4, 0.3]) * rng.uniform(0.6, 1.4, 2)
        box = [*(rng.random(2) * 300), *size]
        annotations.append(
            {
                "id": number + 1, "image_id": image_id(str(rng.choice(names))), "bbox": [float(v) for v in box],
                "category_id": int(rng.choice([1, 4, 72])), "iscrowd": int(rng.random() < 0.1),
                "area": float(size[0] * size[1] * 0.8),
            }
        )  # fmt: skip
    return {
        "images": [{"id": image_id(name)} for name in names],
        "categories": [{"id": i, "name": n} for i, n in zip(CATEGORY_IDS, CLASSES, strict=True)],
        "annotations": annotations,
    }


def written(folder: Path, truth: dict[str, Any], rng: np.random.Generator, empty: Sequence[str] = ()) -> None:
    """The annotations, the list and files of detections near the objects and elsewhere."""
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(truth))
    (folder / "list.txt").write_text("".join(f"{name}\n" for name in NAMES))
    lines: dict[int, list[str]] = {image_id(name): [] for name in NAMES}
    names = {i: name for name, i in zip(CLASSES, CATEGORY_IDS, strict=True)}
    for a in truth["annotations"]:
        for _ in range(rng.integers(0, 4)):
            left, top, width, height = np.array(a["bbox"]) * rng.uniform(0.9, 1.1, 4)
            box = [left, top, left + width, top + height]
            lines[a["image_id"]].append(format_detection(names[a["category_id"]], rng.random(), box))
    for name in NAMES:
        if name not in empty:
            text = "".join(f"{line}\n" for line in lines[image_id(name)])
            (folder / f"{Path(name).stem}.txt").write_text(text)


def command(folder: Path, count: int = -1) -> list[str]:
    return [
        "--file_list", str(folder / "list.txt"), "--result_dir", str(folder), "--ann_dir", str(folder), "--data_type",
        "val2017", "--json_name", str(folder / "json" / "out"), "--image_num", str(count), "--infer_mode", "python",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_the_table_of_random_boxes(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools", reason="needs the extra [zoo]")
    rng = np.random.default_rng(seed)
    truth = random_truth(rng, NAMES)
    written(tmp_path, truth, rng)
    count = (-1, 3, 4)[seed]
    assert main(command(tmp_path, count)) == 0
    images = [image_id(name) for name in NAMES[: count if count > 0 else None]]
    found = json.loads((tmp_path / "json" / "out.json").read_text())
    assert {d["image_id"] for d in found} <= set(images) and len(found) > 20
    expected = figures(truth, found, images)
    kinds = ["Average Precision  (AP)"] * 6 + ["Average Recall     (AR)"] * 6
    overlap = ["0.50:0.95", "0.50     ", "0.75     "] + ["0.50:0.95"] * 9
    area = ["   all"] * 3 + [" small", "medium", " large"] + ["   all"] * 3 + [" small", "medium", " large"]
    most = ["100"] * 6 + ["  1", " 10"] + ["100"] * 4
    lines = [
        f" {k} @[ IoU={o} | area={a} | maxDets={m} ] = {v:0.3f}"
        for k, o, a, m, v in zip(kinds, overlap, area, most, expected, strict=True)
    ]
    assert capsys.readouterr().out.splitlines() == [f"num of images: {len(images)}", *lines]
    assert 0.05 < expected[0] < 0.9


@pytest.mark.parametrize("empty", [NAMES[-1:], NAMES])
def test_images_without_detections(
    empty: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools", reason="needs the extra [zoo]")
    monkeypatch.setenv("PROJ_ROOT_PATH", str(tmp_path / "centernet_pytorch"))
    rng = np.random.default_rng(5)
    truth = random_truth(rng, NAMES)
    written(tmp_path, truth, rng, empty)
    assert main(command(tmp_path)) == 0
    found = json.loads((tmp_path / "json" / "out.json").read_text())
    expected = figures(truth, found, [image_id(name) for name in NAMES])
    shown = capsys.readouterr().out.splitlines()
    assert [line.rpartition("= ")[2] for line in shown[1:]] == [f"{v:0.3f}" for v in expected]
    row = (tmp_path / "centernet_pytorch" / "benchmark" / "benchmark.csv").read_text().splitlines()[1]
    assert row.startswith("centernet_pytorch,,COCO,mAP@.5,")
    assert abs(float(row.split(",")[4]) - expected[1]) < 1e-9


def test_names_and_numbers() -> None:
    assert len(CLASSES) == len(CATEGORY_IDS) == 80
    assert [category_id(name) for name in ("person", "stop sign", "tvmonitor", "tv", "toothbrush")] == [
        1,
        13,
        72,
        72,
        90,
    ]
    assert [image_id(name) for name in ("000000000139.jpg", "COCO_val2014_000000000042.jpg", "7")] == [139, 42, 7]
    with pytest.raises(EvaluationError, match="'unicorn' is no class"):
        category_id("unicorn")
    with pytest.raises(EvaluationError, match="does not end"):
        image_id("image.jpg")


def test_lines_of_detections(tmp_path: Path) -> None:
    line = format_detection("hair drier", 0.25, [1, 2.5, 30, 40.125])
    assert line == "hair drier,0.250000,1,2.500000,30,40.125000"
    (tmp_path / "7.txt").write_text(f"{line}\n\n")
    (found,) = coco.read_detections(tmp_path / "7.txt", 7)
    assert found == {"image_id": 7, "category_id": 89, "bbox": [1, 2.5, 29, 37.625], "score": 0.25}
    (tmp_path / "7.txt").write_text("car,0.5,1,2,3\n")
    with pytest.raises(EvaluationError, match="is not class,score"):
        coco.read_detections(tmp_path / "7.txt", 7)


def test_without_a_scorer_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco, "import_module", _nothing)
    with pytest.raises(MissingExtraError, match=r"magicmind\[zoo\]"):
        coco.score(Path("x.json"), [], [])


def _nothing(name: str) -> Any:
    raise ModuleNotFoundError(name)
