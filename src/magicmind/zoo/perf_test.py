"""Measuring the tiny sample, alone and beside another engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="the extra 'zoo' is not installed")

import magicmind
from magicmind.zoo.build import BuildOptions
from magicmind.zoo.datasets import Dataset
from magicmind.zoo.perf import PerfOptions, measure
from magicmind.zoo.pictures import made_dataset
from magicmind.zoo.recipe import Published
from magicmind.zoo.tiny_testing import SAMPLE, write_network
from magicmind.zoo.workspace import Request


@pytest.mark.slow
def test_figures_are_written_beside_the_published_ones(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'bench' is not installed")
    sample = replace(SAMPLE, throughput=(Published("force_float32", 4, "S4", {"qps": 1657.69}),))
    request = Request(sample, mutable=True, root=tmp_path)
    write_network(request.models / "tiny.onnx")

    def calibration() -> Dataset:
        return made_dataset(tmp_path / "pictures", 4)

    modes = ("force_float32", "qint8_mixed_float16")
    options = PerfOptions(modes, (1, 4), 3, 0.02, ("onnxruntime",), tmp_path / "perf")
    result = measure(request, options, calibration)
    assert not result.failures
    assert [(row.engine, row.precision, row.batch) for row in result.rows] == [
        ("magicmind", "force_float32", 1), ("magicmind", "force_float32", 4),
        ("magicmind", "qint8_mixed_float16", 1), ("magicmind", "qint8_mixed_float16", 4),
        ("onnxruntime", "force_float32", 1), ("onnxruntime", "int8", 1),
        ("onnxruntime", "force_float32", 4), ("onnxruntime", "int8", 4),
    ]  # fmt: skip
    for row in result.rows:
        assert row.average > 0 and row.p95 <= row.p99
        for of_pipeline in (row.from_files, row.preparing):
            assert (of_pipeline or 0) > 0 if row.engine == "magicmind" else of_pipeline is None
        assert row.qps == pytest.approx(1e3 * row.batch / row.average, rel=1e-6)
    assert dict(result.rows[1].cards) == {"S4": 1657.69}
    table = (tmp_path / "perf/perf.md").read_text()
    assert "| magicmind | force_float32 | 4 |" in table
    assert "1657.69 |" in table
    assert len(json.loads((tmp_path / "perf/perf.json").read_text())["rows"]) == 8
    assert (tmp_path / "perf/perf.png").read_bytes()[:4] == b"\x89PNG"


def test_models_are_built_as_asked_and_anew_only_then(tmp_path: Path) -> None:
    request = Request(SAMPLE, mutable=True, root=tmp_path)
    write_network(request.models / "tiny.onnx")
    options = PerfOptions(("force_float32",), (1,), 1, 0.01, (), tmp_path / "perf", BuildOptions("x86-64-v2"))
    built = []
    for rebuild in (False, False, True):
        measure(request, replace(options, rebuild=rebuild), lambda: made_dataset(tmp_path / "pictures", 1))
        (model,) = request.models.glob("tiny_*")
        built.append(model.stat().st_mtime_ns)
        with magicmind.load(model) as loaded:
            assert loaded.target == "x86-64-v2"
    assert built[0] == built[1] < built[2]


def test_a_peer_that_cannot_is_said_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(SAMPLE, mutable=True, root=tmp_path)
    write_network(request.models / "tiny.onnx")
    monkeypatch.setattr("sys.executable", "/bin/false")
    options = PerfOptions(("force_float32",), (1,), 1, 0.01, ("openvino",), tmp_path / "perf")
    result = measure(request, options, lambda: made_dataset(tmp_path / "pictures", 1))
    assert [row.engine for row in result.rows] == ["magicmind"]
    assert "openvino cannot run peers_1.onnx" in result.failures[0]
    assert "not measured: openvino" in result.as_markdown()
