"""Mean IoU against a loop over pixels, and VOC's colours and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicmind.evaluation.files import EvaluationError
from magicmind.evaluation.segmentation import (
    CLASSES,
    colour,
    iou,
    labels_of_colours,
    main,
    nearest,
    palette,
    read_labels,
    save_labels,
    total,
)

Image = pytest.importorskip("PIL.Image", reason="needs the extra [zoo]")
Array = np.ndarray[Any, Any]


def test_voc_colours() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for label, value in {**known, 255: (224, 224, 192)}.items():
        assert tuple(palette()[label]) == value
    labels = np.array([[*range(21), 255]], np.uint8)
    np.testing.assert_array_equal(labels_of_colours(colour(labels)), labels)
    near = np.array([[[130, 3, 0], [223, 224, 190]]], np.uint8)
    assert labels_of_colours(near).tolist() == [[1, 255]]


@pytest.mark.parametrize("size", [(3, 4), (7, 9), (20, 13)])
def test_the_nearest_label(size: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 21, (7, 9)).astype(np.uint8)
    expected = [
        [labels[int((y + 0.5) * 7 / size[0]), int((x + 0.5) * 9 / size[1])] for x in range(size[1])]
        for y in range(size[0])
    ]
    np.testing.assert_array_equal(nearest(labels, *size), expected)


def plain(pairs: list[tuple[Array, Array]]) -> list[float]:
    shares = []
    for label in range(21):
        both = either = 0
        for truth, found in pairs:
            for t, f in zip(truth.reshape(-1), found.reshape(-1), strict=True):
                if t < 21:
                    both += int(t == label == f)
                    either += int(label in (t, f))
        shares.append(both / either if either else float("nan"))
    return shares


def random_pairs(count: int, top: int = 21) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(1)
    pairs = []
    for _ in range(count):
        truth = rng.integers(0, top, (9, 11)).astype(np.uint8)
        found = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, top, truth.shape)).astype(np.uint8)
        truth[rng.random(truth.shape) < 0.1] = 255
        found[rng.random(truth.shape) < 0.05] = 255
        pairs.append((truth, found))
    return pairs


def test_shares_of_random_maps() -> None:
    pairs = random_pairs(3, 19)  # the last classes are nowhere
    np.testing.assert_allclose(iou(total(pairs)), np.array(plain(pairs)))


def data_set(folder: Path, pairs: list[tuple[Array, Array]]) -> list[str]:
    root = folder / "VOCdevkit" / "VOC2012"
    (root / "SegmentationClass").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    names = [f"2007_{i:06d}" for i in range(len(pairs))]
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text(
        "".join(f"{name}\n" for name in [*names, "2007_999999"])
    )
    for name, (truth, _) in zip(names, pairs, strict=True):
        picture = Image.fromarray(truth).convert("P")
        picture.putpalette(palette().reshape(-1).tolist())
        picture.save(root / "SegmentationClass" / f"{name}.png")
        np.testing.assert_array_equal(read_labels(root / "SegmentationClass" / f"{name}.png"), truth)
    return names


@pytest.mark.parametrize("larger", [1, 3])
def test_pictures(
    larger: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = random_pairs(3)
    names = data_set(tmp_path, pairs)
    for name, (_, found) in zip(names, pairs, strict=True):
        save_labels(tmp_path / f"{name}.png", np.kron(found, np.ones((larger, larger), np.uint8)))
    monkeypatch.setenv("VOC2012_DATASETS_PATH", str(tmp_path))
    monkeypatch.setenv("PROJ_ROOT_PATH", str(tmp_path / "deeplabv3_tensorflow"))
    assert main(["--pred_dir", str(tmp_path), "--image_num", "3"]) == 0
    expected = plain(pairs)
    lines = [f"===>{name}:\t{100 * share:.2f}" for name, share in zip(CLASSES, expected, strict=True)]
    mean = float(np.nanmean(expected))
    assert capsys.readouterr().out.splitlines() == [*lines, f"mIOU:{100 * mean:.2f}"]
    row = (tmp_path / "deeplabv3_tensorflow" / "benchmark" / "benchmark.csv").read_text().splitlines()[1].split(",")
    assert row[:4] == ["deeplabv3_tensorflow", "", "VOC2012", "miou"] and float(row[4]) == pytest.approx(mean)


def test_binary_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = random_pairs(2)
    names = data_set(tmp_path, pairs)
    for name, (_, found) in zip(names, pairs, strict=True):
        found.tofile(tmp_path / f"{name}_result.binary")
    root = tmp_path / "VOCdevkit" / "VOC2012"
    command = ["--binary", "--pred_dir", str(tmp_path), "--gt_dir", str(root / "SegmentationClass")]
    command += ["--file_list", str(root / "ImageSets" / "Segmentation" / "val.txt"), "--image_num", "2"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"mIOU : {np.nanmean(plain(pairs))}\n"
    np.zeros(98, np.uint8).tofile(tmp_path / f"{names[0]}_result.binary")
    with pytest.raises(EvaluationError, match="98 labels"):
        main(command)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VOC2012_DATASETS_PATH", "VOC_DATASETS_PATH", "DATASETS_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EvaluationError, match="--gt_dir"):
        main(["--pred_dir", str(tmp_path)])
