"""The example programs find what the recorded detections and masks of the real networks say."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import magicmind

Image = pytest.importorskip("PIL.Image", reason="needs the extra [plot]")

pytestmark = pytest.mark.slow  # builds real networks

FOLDER = Path(__file__).parents[1] / "examples"
Array = np.ndarray[Any, np.dtype[Any]]
Offline = Callable[[str], Path]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports an example by name, as when it is run as a script."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def same(found: Array, recorded: Array, example: Callable[[str], ModuleType], score: float) -> None:
    """Asserts that every recorded row has its own found row: IoU > 0.95, scores closer than `score`, equal classes."""
    overlap = example("pictures").overlap
    assert len(found) == len(recorded)
    taken = set()
    for row in recorded:
        shared = overlap(row[:4], found[:, :4])
        shared[list(taken)] = 0
        i = int(shared.argmax())
        taken.add(i)
        assert shared[i] > 0.95
        assert abs(found[i, 4] - row[4]) < score
        np.testing.assert_array_equal(found[i, 5:], row[5:])


@pytest.mark.parametrize("name", ["1", "9", "13"])
@pytest.mark.parametrize("network", ["rfb", "slim"])
def test_faces(network: str, name: str, data: Path, offline: Offline, example: Callable[[str], ModuleType]) -> None:
    faces, folder = example("detect_faces"), data / "detection/rfb320_face"
    recorded = np.load(folder / f"reference/{name}.npz")
    picture = example("pictures").read(folder / f"images/{name}.jpg")
    with magicmind.load(offline(network)) as model, model.session() as session:
        outputs = session.run({"input": faces.prepare(recorded["input_u8"])})
        found = faces.decode(outputs["scores"], outputs["boxes"], *picture.size)
        same(found, recorded[f"{network}_onnx_detections"], example, 1e-4)
        if network == "rfb":  # from the JPEG: another decoder and resizer, other roundings
            same(faces.detect(session, picture), recorded["rfb_onnx_detections"], example, 0.05)


@pytest.mark.parametrize("name", ["fd_0", "fd_3", "16004479832_a748d55f21_k"])
def test_objects(name: str, data: Path, offline: Offline, example: Callable[[str], ModuleType]) -> None:
    objects, folder = example("detect_objects"), data / "detection/fastestdet_coco"
    recorded = np.load(folder / f"reference/onnx_{name}.npz")
    picture = example("pictures").read(folder / f"images/{name}.jpg")
    with magicmind.load(offline("fastestdet")) as model, model.session() as session:
        (output,) = session.run({"input.1": objects.prepare(recorded["input_u8"])}).values()
        same(objects.decode(output, *picture.size), recorded["detections"], example, 1e-4)
        if name != "fd_3":  # 640 x 345: one side grows, where the recorded resizer interpolates
            same(objects.detect(session, picture), recorded["detections"], example, 0.02)


@pytest.mark.parametrize("name", ["obama", "two"])
def test_portraits(name: str, data: Path, offline: Offline, example: Callable[[str], ModuleType]) -> None:
    portraits, folder = example("segment_portrait"), data / "segmentation"
    recorded = np.load(folder / f"sinet_portrait/reference/{name}.npz")
    with magicmind.load(offline("sinet")) as model, model.session() as session:
        (logits,) = session.run({"data": portraits.prepare(recorded["input_u8_bgr"])}).values()
        assert (portraits.decode(logits) == recorded["mask"]).mean() > 0.9999
        picture = example("pictures").read(folder / f"images/{name}.jpg").resize((320, 320))
        mask, wanted = portraits.segment(session, picture), recorded["mask"] != 0
        assert (mask & wanted).sum() / (mask | wanted).sum() > 0.98


PROGRAMS = [
    ("detect_faces", "slim", "detection/rfb320_face/images/13.jpg", "2 faces"),
    ("detect_objects", "fastestdet", "detection/fastestdet_coco/images/fd_0.jpg", "person 0.87"),
    ("segment_portrait", "sinet", "segmentation/images/two.jpg", "% person"),
]


@pytest.mark.parametrize(("program", "network", "picture", "said"), PROGRAMS)
def test_programs_draw(
    program: str, network: str, picture: str, said: str, data: Path, offline: Offline, tmp_path: Path,
    example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = [program, str(offline(network)), str(data / picture), "--output", str(tmp_path / "out")]
    if program == "detect_objects":
        command += ["--names", str(data / "detection/fastestdet_coco/coco.names")]
    monkeypatch.setattr(sys, "argv", command)
    example(program).main()
    assert said in capsys.readouterr().out
    before = Image.open(data / picture).convert("RGB")
    after = Image.open(tmp_path / "out" / f"{Path(picture).stem}.png")
    assert after.size == before.size
    assert np.abs(np.asarray(after, int) - np.asarray(before, int)).mean() > 0.1


def test_overlapping_boxes_lose_to_surer_ones(example: Callable[[str], ModuleType]) -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 0, 10, 4]], float)
    pictures = example("pictures")
    assert pictures.best(boxes, np.array([0.8, 0.9, 0.5, 0.7]), 0.45) == [1, 3, 2]
    assert pictures.best(boxes[:0], np.zeros(0), 0.45) == []
    np.testing.assert_allclose(pictures.overlap(boxes[0], boxes), [1, 9 / 11, 0, 0.4])


def test_areas_are_averaged_exactly(example: Callable[[str], ModuleType]) -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(1, 12, 3) * 7
    shrunk = example("pictures").averaged(Image.fromarray(pixels), 8, 1)  # 1.5 pixels each
    exact = (pixels[0, 0] + 0.5 * pixels[0, 1]) / 1.5
    np.testing.assert_array_equal(shrunk[0, 0], np.rint(exact))
