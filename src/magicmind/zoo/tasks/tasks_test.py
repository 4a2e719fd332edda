"""Decoding and files of results against plain numpy and worked examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="the extra 'zoo' is not installed")

from magicmind.evaluation.coco import CLASSES as COCO  # noqa: E402
from magicmind.zoo.geometry import Array, Fit, Placement, Stretch  # noqa: E402
from magicmind.zoo.preparation import Prepared  # noqa: E402
from magicmind.zoo.tasks.boxes import suppress  # noqa: E402
from magicmind.zoo.tasks.classification import Classification  # noqa: E402
from magicmind.zoo.tasks.decode import CenterNet  # noqa: E402
from magicmind.zoo.tasks.detection import Detection  # noqa: E402
from magicmind.zoo.tasks.segmentation import Segmentation  # noqa: E402
from magicmind.zoo.tasks.task import Item, Limits  # noqa: E402


def heads(seed: int, classes: int = 5, side: int = 128) -> list[Array]:
    """Random outputs of CenterNet, with some equal scores."""
    rng = np.random.default_rng(seed)
    heatmap = rng.integers(0, 1000, (classes, side, side)).astype(np.float32) / 1000
    padded = np.pad(heatmap, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    hm_max = np.max([padded[:, y : y + side, x : x + side] for y in range(3) for x in range(3)], 0)
    wh = rng.uniform(-1, 40, (2, side, side)).astype(np.float32)
    reg = rng.uniform(0, 1, (2, side, side)).astype(np.float32)
    return [hm_max, heatmap, wh, reg]


def plain(outputs: list[Array], width: int, height: int, affine: bool) -> list[list[float]]:
    """Every step as it is written down: peaks, the hundred best, box in cells, back to the picture, clipped."""
    hm_max, heatmap, wh, reg = outputs
    found = []
    for c, y, x in np.argwhere(hm_max == heatmap):
        found.append((-float(heatmap[c, y, x]), c * 16384 + y * 128 + x, c, y, x))
    rows = []
    for score, _, c, y, x in sorted(found)[:100]:
        w, h, dx, dy = (float(v) for v in (*wh[:, y, x], *reg[:, y, x]))
        cells = [x + dx - w / 2, y + dy - h / 2, x + dx + w / 2, y + dy + h / 2]
        s = max(width, height)
        if affine:
            box = [(v - 64) * s / 128 + (height if i % 2 else width) / 2 for i, v in enumerate(cells)]
        else:
            box = [v * (height if i % 2 else width) / 128 for i, v in enumerate(cells)]
        box = [min(max(v, 0.0), float(height if i % 2 else width)) for i, v in enumerate(box)]
        if -score >= 0.001 and box[2] > box[0] and box[3] > box[1]:
            rows.append([int(c), -score, *box])
    return rows


@pytest.mark.parametrize(("height", "width"), [(480, 640), (333, 500), (900, 200)])
@pytest.mark.parametrize("affine", [True, False])
def test_centernet_decodes_as_plain_numpy(height: int, width: int, affine: bool) -> None:
    geometry = Fit(512) if affine else Stretch(512, 512)
    pixels, placement = geometry.apply(np.zeros((height, width, 3), np.uint8))
    prepared = Prepared(pixels, placement, (height, width))
    for seed in range(3):
        outputs = heads(seed)
        found = Detection(CenterNet(), COCO).result(outputs, prepared, Limits())
        expected = plain(outputs, width, height, affine)
        assert [row[0] for row in found] == [row[0] for row in expected]
        np.testing.assert_allclose(
            [row[1:] for row in found], [row[1:] for row in expected], atol=1e-6 * max(height, width)
        )


def worked(whole: bool, placement: Placement) -> list[float]:
    """Cell 10, 20; dx 0.3, dy 0.7; w 5.7, h 8.2 in a picture of 640 x 480."""
    outputs = [np.zeros((n, 128, 128), np.float32) for n in (80, 80, 2, 2)]
    outputs[0][3, 20, 10] = outputs[1][3, 20, 10] = 0.5
    outputs[2][:, 20, 10], outputs[3][:, 20, 10] = (5.7, 8.2), (0.3, 0.7)
    prepared = Prepared(np.zeros((512, 512, 3), np.uint8), placement, (480, 640))
    ((kind, score, *box),) = Detection(CenterNet(whole=whole), COCO, whole=whole).result(outputs, prepared, Limits())
    assert (kind, score) == (3, 0.5)
    found: list[float] = box
    return found


def test_the_worked_example_of_the_sample() -> None:
    stretched, fitted = (g.apply(np.zeros((480, 640, 3), np.uint8))[1] for g in (Stretch(512, 512), Fit(512)))
    np.testing.assert_allclose(worked(False, stretched), [37.25, 62.25, 65.75, 93.0], rtol=1e-6)
    np.testing.assert_allclose(worked(False, fitted), [37.25, 3.0, 65.75, 44.0], rtol=1e-6)
    assert worked(True, stretched) == [35, 60, 60, 90]


def test_limits_of_the_user_win() -> None:
    prepared = Prepared(np.zeros((512, 512, 3), np.uint8), Placement(0, 0, 1, 1), (512, 512))
    task = Detection(CenterNet(), COCO)
    assert len(task.result(heads(1), prepared, Limits(boxes=7))) <= 7
    assert all(row[1] >= 0.99 for row in task.result(heads(1), prepared, Limits(confidence=0.99)))


def test_suppression_keeps_classes_apart() -> None:
    rows = np.array(
        [[0, 0, 10, 10, 0.8, 1], [1, 0, 11, 10, 0.9, 1], [0, 0, 10, 10, 0.7, 2], [30, 30, 40, 40, 0.1, 1]], float
    )
    np.testing.assert_array_equal(suppress(rows, 0.45)[:, 4], [0.9, 0.7, 0.1])
    assert suppress(rows[:0], 0.45).shape == (0, 6)


def test_detections_are_written_as_the_scorer_reads_them(tmp_path: Path) -> None:
    task = Detection(CenterNet(), COCO)
    item = Item(0, "000000000139.jpg", tmp_path / "none.jpg")
    kept = task.store(tmp_path, item, [[9, 0.75, 1.5, 2, 30, 40.25]], COCO)
    assert (tmp_path / "000000000139.txt").read_text() == "traffic light,0.750000,1.500,2.000,30.000,40.250\n"
    assert kept == 1
    task.finish(tmp_path, [(Item(1, "broken.jpg", item.path), None)], COCO)
    assert (tmp_path / "broken.txt").read_text() == ""


def test_classes_are_written_as_the_scorer_reads_them(tmp_path: Path) -> None:
    names = [f"name {i}, other" for i in range(1000)]
    prepared = Prepared(np.zeros((2, 2, 3), np.uint8), Placement(0, 0, 1, 1), (2, 2))
    scores = np.zeros((1000, 1, 1), np.float32)
    scores[[7, 3, 9, 1, 5], 0, 0] = [5, 4, 3, 2, 1]
    task = Classification(probabilities=False, says_image=True)
    result = task.result([scores], prepared, Limits())
    assert [index for index, _ in result] == [7, 3, 9, 1, 5]
    assert 0 < result[0][1] < 1
    items = [Item(0, "ILSVRC2012_val_00000001.JPEG", tmp_path, 3), Item(1, "broken.JPEG", tmp_path, 4)]
    task.finish(tmp_path, [(items[0], result), (items[1], None)], names)
    assert (tmp_path / "eval_labels.txt").read_text() == "[0]: 3\n[1]: 4\n"
    assert (tmp_path / "eval_result_1.txt").read_text() == "[0]: 7\n"
    assert (tmp_path / "eval_result_5.txt").read_text() == "[0]: 7\n[0]: 3\n[0]: 9\n[0]: 1\n[0]: 5\n"
    text = (tmp_path / "infer_result.txt").read_text().splitlines()
    assert text[:2] == ["top5 result in ILSVRC2012_val_00000001:", "0 [name 7, other]"]
    Classification(True, says_image=False).finish(tmp_path, [(items[0], result)], names)
    assert (tmp_path / "infer_result.txt").read_text().startswith("top5 result:\n0 [name 7, other]\n")


def test_masks_are_written_in_the_colours_of_voc(tmp_path: Path) -> None:
    mask = np.arange(21, dtype=np.int64).reshape(3, 7)
    task = Segmentation(tuple(f"class {i}" for i in range(21)))
    prepared = Prepared(np.zeros((3, 7, 3), np.uint8), Placement(0, 0, 1, 1), (3, 7))
    result = task.result([mask], prepared, Limits())
    kept = task.store(tmp_path, Item(0, "2007_000033", tmp_path), result, ())
    pixels = cv2.imread(str(tmp_path / "2007_000033.png"))[:, :, ::-1]
    assert pixels[0, 1].tolist() == [128, 0, 0]
    assert pixels[2, 6].tolist() == [0, 64, 128]
    assert kept["20"] == pytest.approx(1 / 21)


@pytest.mark.parametrize("size", [(300, 400), (40, 60)])
def test_drawings_show_what_was_found(size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 90, np.uint8)
    boxes = Detection(CenterNet(), COCO)
    rows = [[0, 0.9, 5.0, 5, 30, 30], [1, 0.1, 0, 0, 10, 10]]
    drawn = boxes.draw(pixels, rows, COCO)
    assert drawn.shape[0] * size[1] == drawn.shape[1] * size[0] and drawn.shape[1] >= 400
    factor = drawn.shape[1] // size[1]
    assert drawn[28 * factor, 5 * factor].tolist() == [0, 255, 0]
    assert not np.array_equal(drawn, boxes.draw(pixels, [], COCO))
    assert boxes.describe(rows, COCO) == "person 0.90"
    classes = Classification(True, says_image=True)
    bars = classes.draw(pixels, [[1, 0.7], [2, 0.2]], ["a", "b", "c"])
    assert bars.shape[0] > drawn.shape[0]
    assert classes.describe([[1, 0.7], [2, 0.2]], ["a", "b", "c"]) == "b 70.0 %, c 20.0 %"
    masks = Segmentation(("background", "person"))
    mask = np.zeros((20, 30), np.uint8)
    mask[:10] = 1
    overlay = masks.draw(pixels, mask, masks.names)
    assert overlay[4, 4].tolist() == [45, 45, 109]
    assert masks.describe(mask, masks.names) == "person 50.0 %"
    assert masks.describe(mask * 0, masks.names) == "background alone"
