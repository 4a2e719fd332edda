"""The benchmark harness: its networks are the published ones, its ratios what they claim, its workers answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the modules of benchmarks/ importable by their own names, as when run as scripts."""
    monkeypatch.syspath_prepend(str(FOLDER))


def engine(*medians: float) -> dict[str, Any]:
    return {"round_median_ms": list(medians), "round_min_ms": [m - 0.5 for m in medians], "calls": 9, "error": 1e-6}


CASE = {
    "model": "net",
    "batch": 1,
    "threads": 2,
    "engines": {"magicmind": engine(2, 2, 4), "onnxruntime": engine(3, 3, 3), "openvino": engine(5, 2.9, 9)},
}
RECORD = {
    "rounds": 3,
    "machine": {"cpu": "C", "family_model": "6/1", "vector": [], "cpus": 2, "versions": {}, "date": "2026-01-02"},
}


@pytest.mark.usefixtures("harness")
def test_ratio_is_best_peer_over_ours_by_round() -> None:
    import report

    assert report.ratios(CASE) == [1.5, 1.5, 0.75]
    without = {**CASE, "engines": {"openvino": engine(1, 1, 1)}}
    assert report.ratios(without) is None


@pytest.mark.usefixtures("harness")
def test_precisions_are_compared_with_their_own_peers() -> None:
    import report

    int8 = {"magicmind-int8": engine(1, 1, 1), "onnxruntime-int8": engine(2, 2, 2), "magicmind-half": engine(2, 4, 4)}
    text = report.table({**RECORD, "cases": [{**CASE, "engines": {**CASE["engines"], **int8}}, CASE]})
    head, _, first, second = text.splitlines()[-4:]
    assert head.count("|") == first.count("|") == second.count("|")
    assert "| 1.50 [0.75, 1.50] | 1.00 [0.50, 1.00] | 2.00 [2.00, 2.00] | 3.00 [3.00, 3.00] |" in first
    assert "| 1.50 [0.75, 1.50] | - | - | - |" in second


@pytest.mark.usefixtures("harness")
def test_table_goes_between_the_markers(tmp_path: Path) -> None:
    import report

    readme = tmp_path / "README.md"
    first, last = report.markers("speed")
    readme.write_text(f"before\n{first}\nold\n{last}\nafter\n")
    report.fill(readme, report.table({**RECORD, "cases": [CASE]}))
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| net | 1 | 2 | 2.00 (1.50) | 3.00 (2.50) | 5.00 (2.40) | 1.50 [0.75, 1.50] | 1.0e-06 |" in text
    (tmp_path / "bare.md").write_text("no markers")
    with pytest.raises(SystemExit):
        report.fill(tmp_path / "bare.md", "x", "precision")


@pytest.mark.usefixtures("harness")
def test_networks_are_deterministic_and_sound() -> None:
    import models

    # Building asserts node and parameter counts against the published ones.
    one, other = models.mobilenet_v2("N"), models.mobilenet_v2("N")
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    onnx.shape_inference.infer_shapes(one, strict_mode=True, data_prop=True)


@pytest.mark.slow
@pytest.mark.usefixtures("harness")
def test_resnet_has_the_published_shapes() -> None:
    import models

    inferred = onnx.shape_inference.infer_shapes(models.resnet50_v1(2), strict_mode=True)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.graph.value_info}
    assert shapes["resnetv17_pool0_fwd"] == [2, 64, 56, 56]
    assert [shapes[f"resnetv17_stage{i}_activation2"] for i in (1, 2, 3, 4)] == [
        [2, 256, 56, 56],
        [2, 512, 28, 28],
        [2, 1024, 14, 14],
        [2, 2048, 7, 7],
    ]


@pytest.mark.usefixtures("harness")
def test_a_peer_is_measured_in_its_own_process(tmp_path: Path) -> None:
    import run

    record = run.run_case(run.Case("onenode", 3, 1), ["onnxruntime", "nosuch"], 2, 0.01, tmp_path)
    found = record["engines"]["onnxruntime"]
    assert len(found["round_median_ms"]) == 2 and found["calls"] >= 10 and found["error"] == 0
    assert "nosuch" in record["failures"]["nosuch"]


@pytest.mark.usefixtures("harness")
def test_random_feeds_fill_the_batch(tmp_path: Path) -> None:
    import models
    import run

    feeds = run.random_feeds(models.ensure("onenode", "N", tmp_path), 5)
    assert feeds["data"].shape == (5, 16) and feeds["data"].dtype == np.float32
    assert "models" in sys.modules


@pytest.mark.slow
@pytest.mark.usefixtures("harness")
def test_a_sample_is_measured_beside_its_peers(tmp_path: Path) -> None:
    """Our models as the zoo builds them, the peers' as ONNX and Q/DQ files, on the same bytes."""
    pytest.importorskip("cv2", reason="the extra 'zoo' is not installed")
    import report
    import run

    import samples

    case = samples.prepare("mobilenetv2_caffe", 2, "qint8_mixed_float16", tmp_path)
    engines = ["magicmind", "magicmind-int8", "onnxruntime", "onnxruntime-int8"]
    record = run.run_case(case, engines, 2, 0.02, None)
    assert record["failures"] == {}
    assert record["engines"]["magicmind"]["error"] < 1e-5
    text = report.table({**RECORD, "rounds": 2, "cases": [record]})
    assert "best int8 peer / our int8" in text and "| mobilenetv2_caffe | 1 | 2 |" in text
    assert run.random_feeds(case.path, 1)["data"].dtype == np.uint8
