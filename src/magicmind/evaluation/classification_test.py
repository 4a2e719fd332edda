"""Files of a classifier's results to the byte, and their score against the rule as it is written down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from magicmind.evaluation import classification
from magicmind.evaluation.classification import Results, class_names, labels_of, main, top1_and_top5
from magicmind.evaluation.files import EvaluationError


def test_files_of_results(tmp_path: Path) -> None:
    results = Results(names=["tench, Tinca tinca", "goldfish", "shark", "tiger shark", "hammerhead", "ray"])
    results.add(np.array([[0.1, 0.5, 0.2, 0.5, 0.0, 0.3]]), 3, "ILSVRC2012_val_00000001")
    results.add(np.arange(6.0).reshape(1, 6, 1, 1), 5)
    results.write(tmp_path / "output")
    read = {file.name: file.read_bytes() for file in (tmp_path / "output").iterdir()}
    assert read == {
        "eval_labels.txt": b"[0]: 3\n[1]: 5\n",
        "eval_result_1.txt": b"[0]: 1\n[1]: 5\n",
        "eval_result_5.txt": b"[0]: 1\n[0]: 3\n[0]: 5\n[0]: 2\n[0]: 0\n[1]: 5\n[1]: 4\n[1]: 3\n[1]: 2\n[1]: 1\n",
        "infer_result.txt": (
            b"top5 result in ILSVRC2012_val_00000001:\n0 [goldfish]\n1 [tiger shark]\n2 [ray]\n3 [shark]\n"
            b"4 [tench, Tinca tinca]\ntop5 result:\n0 [ray]\n1 [hammerhead]\n2 [tiger shark]\n3 [shark]\n4 [goldfish]\n"
        ),
    }


def command(folder: Path) -> list[str]:
    return [
        "--result_label_file", str(folder / "eval_labels.txt"), "--result_1_file", str(folder / "eval_result_1.txt"),
        "--result_5_file", str(folder / "eval_result_5.txt"), "--top1andtop5_file", str(folder / "eval_result.txt"),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_random_results(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.standard_normal((40, 12)), rng.integers(0, 12, 40)
    results = Results()
    for row, label in zip(scores, labels, strict=True):
        results.add(row, label)
    results.write(tmp_path)
    assert main(command(tmp_path)) == 0
    ranks = (scores > scores[np.arange(40), labels][:, None]).sum(axis=1)
    top1, top5 = float((ranks == 0).mean()), float((ranks < 5).mean())
    assert capsys.readouterr().out == f"top1:  {top1}\ntop5:  {top5}\n"
    assert (tmp_path / "eval_result.txt").read_bytes() == (
        f"top1 accuracy: {top1:.6f}\ntop5 accuracy: {top5:.6f}\n".encode()
    )


def test_lines_are_compared_whole() -> None:
    labels = ["[0]: 3", "[1]: 4", "[2]: 5", "[10]: 3"]
    assert top1_and_top5(labels, ["[0]: 3", "[1]: 44", "[2]:5"], ["[0]: 3", "[10]: 3", "[1]: 4"]) == (0.25, 0.75)
    with pytest.raises(EvaluationError, match="no labels"):
        top1_and_top5([], [], [])


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("a b.JPEG 65\r\nc.JPEG 0\n\n")
    assert labels_of(tmp_path / "val.txt") == [("a b.JPEG", 65), ("c.JPEG", 0)]
    (tmp_path / "names.txt").write_text("0 tench, Tinca tinca\n1 goldfish\n")
    assert class_names(tmp_path / "names.txt") == ["tench, Tinca tinca", "goldfish"]
    (tmp_path / "val.txt").write_text("c.JPEG\n")
    with pytest.raises(EvaluationError, match=r"'c\.JPEG' is not `file label`"):
        labels_of(tmp_path / "val.txt")


def test_as_a_program(tmp_path: Path) -> None:
    module = [sys.executable, "-m", classification.__name__]
    found = subprocess.run([*module, *command(tmp_path)], capture_output=True, text=True, check=False)
    assert found.returncode == 1 and "eval_labels.txt cannot be read" in found.stderr
    assert "Traceback" not in found.stderr
