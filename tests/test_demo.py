"""The demo: what it prints and leaves behind, and that its accuracy is that of the trained network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from magicmind.cli import main


@pytest.mark.slow
def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    precisions = [row["precision"] for row in found["rows"]]
    assert precisions == ["force_float32", "force_float16", "qint8_mixed_float32"]
    for row in found["rows"]:
        assert row["accuracy"] >= 0.985
        assert row["latency_ms"] > 0 and row["images_per_second"] > 0
        assert Path(row["model"]).stat().st_size == row["mm_bytes"]
    assert Path(found["picture"]).read_bytes().startswith(b"\x89PNG")
    frameworks = [row["framework"] for row in found["formats"]]
    assert frameworks[:3] == ["ONNX", "Caffe", "TensorFlow"]
    for row in found["formats"]:
        assert row["same_answers"] == row["images"] == 450 and row["largest_difference"] < 1e-5


def test_what_ships_is_small() -> None:
    data = Path(__file__).parents[1] / "src" / "magicmind" / "data"
    assert sum(file.stat().st_size for file in data.iterdir() if file.is_file()) < 1_000_000
