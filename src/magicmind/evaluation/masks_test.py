"""Scores of masks against counting by hand, and the command line against what `compare_eval` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicmind.evaluation import masks, records
from magicmind.evaluation.files import EvaluationError
from magicmind.evaluation.masks import Scores, measures

Array = np.ndarray[Any, Any]
HALF = np.repeat(np.array([[255], [0]], np.uint8), 4, 1)


def scores(*pairs: tuple[Array, Array]) -> Scores:
    found = Scores()
    for prediction, truth in pairs:
        found.add(prediction, truth)
    return found


def test_a_perfect_mask() -> None:
    found = scores((HALF, HALF))
    assert (found.mae, found.fmeasure, found.dice) == (0.0, 1.0, 1.0)


def test_a_mask_that_is_half_right() -> None:
    everywhere = np.full((2, 4), 255, np.uint8)
    found = scores((everywhere, HALF))
    assert found.mae == 0.5 and found.dice == pytest.approx(2 / 3)
    assert found.fmeasure == pytest.approx(1.3 * 0.5 / (0.3 * 0.5 + 1))


def test_the_best_threshold_counts() -> None:
    grey = np.where(HALF > 0, 90, 60).astype(np.uint8)
    found = scores((grey, HALF))
    assert found.fmeasure == 1.0 and found.dice == 0.0


def test_precision_and_recall_are_averaged_over_masks() -> None:
    nothing = np.zeros_like(HALF)
    found = scores((HALF, HALF), (nothing, HALF))
    assert found.fmeasure == pytest.approx(1.3 * 0.5 * 1 / (0.3 * 0.5 + 1))  # where everything is the object
    assert found.dice == 0.5


def test_shares_of_nothing() -> None:
    assert measures(np.array([0, 0, 0, 8]))["Dice"] == 1.0
    assert measures(np.array([0, 0, 4, 8])) == {
        "Accuracy": 0.5, "Dice": 0.0, "Jaccard": 0.0, "Precision": 0.0, "Recall": 0.0,
    }  # fmt: skip


def test_a_prediction_of_another_size() -> None:
    large = np.kron(HALF, np.ones((3, 3), np.uint8))
    assert scores((large, HALF)).dice == 1.0


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image", reason="the extra 'images' is not installed")
    for folder, picture in (("pred", HALF), ("gt", HALF[::-1]), ("gt2", HALF)):
        (tmp_path / folder).mkdir()
        image.fromarray(picture.copy()).save(tmp_path / folder / "a.png")
    words = ["--pred_dir", str(tmp_path / "pred"), "--gt_dir"]
    assert masks.main([*words, str(tmp_path / "gt2"), "--summary", str(tmp_path / "summary.json")]) == 0
    (tmp_path / "log").write_text(capsys.readouterr().out)
    assert records.scores(tmp_path / "log", "u2net") == [0.0, 1.0] and records.scores(tmp_path / "log", "unet") == [1.0]
    mean = json.loads((tmp_path / "summary.json").read_text())["results"]["mean"]["1"]
    assert mean["Dice"] == mean["Accuracy"] == mean["Precision"] == mean["Recall"] == 1.0
    assert masks.main([*words, str(tmp_path / "gt")]) == 0
    assert "average mae: 1.0" in capsys.readouterr().out
    (tmp_path / "gt" / "b.png").write_bytes((tmp_path / "gt" / "a.png").read_bytes())
    for folder, message in (("gt", "no prediction for b.png"), ("none", "cannot be read")):
        with pytest.raises(EvaluationError, match=message):
            masks.main([*words, str(tmp_path / folder)])
