"""VOC's average precision against a plain loop, on random boxes; files to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicmind.evaluation.files import EvaluationError
from magicmind.evaluation.voc import CLASSES, detection_file, main, read_detections, write_detections

Array = np.ndarray[Any, Any]
IMAGES = [f"{i:06d}" for i in range(1, 7)]


def iou(a: Array, b: Array) -> float:
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return float(width * height / (sum(areas) - width * height))


def plain(rows: list[tuple[str, float, Array]], truth: dict[str, list[tuple[Array, bool]]], eleven: bool) -> float:
    objects = sum(not difficult for found in truth.values() for _, difficult in found)
    if not objects:
        return float("nan")
    taken: set[tuple[str, int]] = set()
    right = wrong = 0
    curve = []
    for image, _, box in sorted(rows, key=lambda r: -r[1]):
        shares = [iou(box, true) for true, _ in truth[image]]
        best = int(np.argmax(shares)) if shares else -1
        if best < 0 or shares[best] < 0.5:
            wrong += 1
        elif truth[image][best][1]:
            pass
        elif (image, best) in taken:
            wrong += 1
        else:
            taken.add((image, best))
            right += 1
        curve.append((right / objects, right / max(right + wrong, 1)))
    if eleven:
        return float(np.mean([max((p for r, p in curve if r >= t), default=0.0) for t in np.arange(11) / 10]))
    area, before = 0.0, 0.0
    for i, (recall, _) in enumerate(curve):
        area += (recall - before) * max(p for _, p in curve[i:])
        before = recall
    return area


def devkit(folder: Path, year: str, truth: dict[str, dict[str, list[tuple[Array, bool]]]]) -> None:
    root = folder / f"VOC{year}"
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main" / "test.txt").write_text("".join(f"{image}\n" for image in IMAGES))
    for image in IMAGES:
        objects = ""
        for name, by_image in truth.items():
            for box, difficult in by_image[image]:
                sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
                corners = "".join(f"<{side}>{value:.3f}</{side}>" for side, value in sides)
                flag = f"<difficult>{int(difficult)}</difficult>"
                objects += f"<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox></object>"
        (root / "Annotations" / f"{image}.xml").write_text(f"<annotation>{objects}</annotation>")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("year", ["2007", "2012"])
def test_random_boxes(seed: int, year: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(seed)
    truth: dict[str, dict[str, list[tuple[Array, bool]]]] = {}
    expected = {}
    for name in ("car", "dog", "tvmonitor"):
        truth[name] = {image: [] for image in IMAGES}
        rows: list[tuple[str, float, Array]] = []
        for _ in range(12):
            image, low = str(rng.choice(IMAGES)), rng.uniform(1, 200, 2).round(3)
            box = np.concatenate([low, (low + rng.uniform(20, 100, 2)).round(3)])
            truth[name][image].append((box, bool(rng.random() < 0.2)))
            for _ in range(rng.integers(0, 3)):
                near = (box + rng.uniform(-12, 12, 4)).round(3)
                rows.append((image, round(float(rng.random()), 6), near))
        if name != "dog":  # of which nothing is found
            write_detections(tmp_path, name, rows)
        expected[name] = plain(rows if name != "dog" else [], truth[name], year == "2007")
    devkit(tmp_path / "VOCdevkit", year, truth)
    assert main(["--path", str(tmp_path), "--devkit_path", str(tmp_path / "VOCdevkit"), "--year", year]) == 0
    lines = [f"AP for {name} = {expected.get(name, float('nan')):.4f}" for name in CLASSES]
    mean = float(np.mean(list(expected.values())))
    assert capsys.readouterr().out.splitlines() == [*lines, f"Mean AP = {mean:.4f}"]
    assert 0 < mean < 1 and expected["dog"] == 0


def test_files_of_detections(tmp_path: Path) -> None:
    write_detections(tmp_path, "car", [("000001", 0.5, [1, 2, 3, 4.5])])
    file = detection_file(tmp_path, "car")
    assert file.name == "comp3_det_test_car.txt"
    assert file.read_bytes() == b"000001 0.500000 1.000000 2.000000 3.000000 4.500000\n"
    found = read_detections(file)
    assert (found.images, found.scores.tolist(), found.boxes.tolist()) == (["000001"], [0.5], [[1, 2, 3, 4.5]])
    file.write_text("000001 0.5 1 2 3\n")
    with pytest.raises(EvaluationError, match="not `image score"):
        read_detections(file)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VOC2007_DATASETS_PATH", "VOC_DATASETS_PATH", "DATASETS_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EvaluationError, match="--devkit_path"):
        main(["--path", str(tmp_path)])
    devkit(tmp_path, "2007", {})
    (tmp_path / "VOC2007" / "Annotations" / "000003.xml").write_text("<annotation>")
    monkeypatch.setenv("DATASETS_PATH", str(tmp_path))
    with pytest.raises(EvaluationError, match=r"000003\.xml is no annotation"):
        main(["--path", str(tmp_path)])
