"""Tables to the byte, and comparisons of figures in all forms that scores and runs write."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicmind.evaluation.files import EvaluationError
from magicmind.evaluation.records import METRICS, main, read_table, record_score, scores, throughput, verdict


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a sample that runs."""
    folder = tmp_path / "resnet50_onnx"
    folder.mkdir()
    monkeypatch.setenv("PROJ_ROOT_PATH", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_results_are_recorded_by_model(sample: Path) -> None:
    file = sample / "benchmark" / "benchmark.csv"
    assert main(["record_result", "--dataset", "ImageNet", "--metric", "top1", "--eval", "0.75"]) == 0
    assert main(["record_result", "--model", "vgg16, caffe", "--language", "cpp", "--fps", "900"]) == 0
    assert main(["record_result", "--fps", "1200", "--eval", "0.7558"]) == 0
    assert file.read_bytes() == (
        b'model,language,dataset,metric,eval,fps\nresnet50_onnx,,ImageNet,top1,0.7558,1200\n"vgg16, caffe",cpp,,,,900\n'
    )
    record_score("COCO", "mAP@.5", 0.367)
    assert read_table(file)[0] | {} == {
        "model": "resnet50_onnx", "language": "", "dataset": "COCO", "metric": "mAP@.5", "eval": "0.367", "fps": "1200",
    }  # fmt: skip


def test_nothing_is_recorded_outside_of_a_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PROJ_ROOT_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    record_score("COCO", "mAP@.5", 0.367)
    assert not list(tmp_path.iterdir())
    with pytest.raises(EvaluationError, match="PROJ_ROOT_PATH is not set"):
        main(["record_result"])


@pytest.mark.parametrize(
    "new, code, text",
    [
        ("a,,,,0.76,1\nb,,,,37.9,1", 0, "within 5 %"),
        ("a,,,,0.72,1\nb,,,,40,1", 0, "within 5 %"),
        ("a,,,,0.71,1\nb,,,,40,1", 1, "a: 0.71 differs from 0.75\n"),
        ("a,,,,0.75,1", 1, "b: missing"),
        ("a,,,,,1\nb,,,,40,1", 1, "a: nothing differs"),
    ],
)
def test_check_looks_at_eval_only(
    new: str, code: int, text: str, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sample / "benchmark"
    folder.mkdir()
    head = "model,language,dataset,metric,eval,fps\n"
    (folder / "benchmark_ok.csv").write_text(f"{head}a,,,,0.75,9000\nb,,,,39,1\n")
    (folder / "benchmark.csv").write_text(head + new + "\n")
    assert main(["check_result"]) == code
    assert text in capsys.readouterr().out
    assert main(["check_result", str(folder / "benchmark.csv"), str(folder / "benchmark_ok.csv")]) == code


@pytest.mark.parametrize(
    "line",
    [
        "Throughput (qps):             1234.5",
        "Throughput (qps):             1234.5 with total batch sizes: 8 and 154.3 iterations/second",
        "[INFO] Throughput (qps): 1234.5: x",
    ],
)
def test_throughput_of_all_forms(line: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"Iterations:                   1000\n{line}\nEnqueue Time (ms):\n")
    assert throughput(tmp_path / "log") == 1234.5
    with pytest.raises(EvaluationError, match="tacotron2_items_per_sec"):
        throughput(tmp_path / "log", "tacotron")


@pytest.mark.parametrize(
    ("ratio", "result"), [(0.949, "fail"), (0.95, "pass"), (1.0, "pass"), (1.05, "pass"), (1.051, "option")]
)
def test_verdicts(ratio: float, result: str) -> None:
    assert verdict(ratio) == result


def test_speed_is_reported(sample: Path) -> None:
    (sample / "new").write_text("Throughput (qps): 90\n")
    (sample / "old").write_text("Throughput (qps): 100\n")
    command = ["compare_perf", "--output_file", str(sample / "new"), "--output_ok_file", str(sample / "old")]
    assert main([*command, "--model", "resnet50"]) == 0
    (sample / "new").write_text("tacotron2_items_per_sec average = 200.5\n")
    (sample / "old").write_text("tacotron2_items_per_sec average = 200\n")
    assert main([*command, "--model", "tacotron2", "--metric", "tacotron"]) == 0
    assert Path("perf_report.csv").read_bytes() == (
        b"model,qps,qps_ok,ratio,result\nresnet50,90,100,0.9000,fail\ntacotron2,200.5,200,1.0025,pass\n"
    )


TABLE = (
    " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.214\n"
    " Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = 0.367\n"
    " Average Precision  (AP) @[ IoU=0.75      | area=   all | maxDets=100 ] = 0.222\n"
)
WRITTEN = {
    "top1": ("top1 accuracy: 0.755756\ntop5 accuracy: 0.926927\n", [0.755756]),
    "top1andtop5": ("top1 accuracy: 0.755756\ntop5 accuracy: 0.926927\n", [0.755756, 0.926927]),
    "cocomAP": (f"num of images: 1000\n{TABLE}", [0.214, 0.367]),
    "vocmAP": ("AP for car = 0.5000\nMean AP = 0.7100\n", [0.71]),
    "unet": ("Dice score: 0.987\n", [0.987]),
    "squad": ("result: 12: OrderedDict([('exact', 81.5), ('f1', 88.7), ('total', 3)])\n", [81.5, 88.7, 3]),
    "voc_miou": ("model,language,dataset,metric,eval,fps\ndeeplabv3,,VOC2012,miou,0.7665,\n", [0.7665]),
    "1e5and1e4": ("IJB-C(1E-5): 0.91\nIJB-C(1E-4): 0.95\n", [0.91, 0.95]),
    "mrpc": ("eval: acc: 0.86\neval: f1: 0.9\n", [0.86, 0.9]),
    "u2net": ("average mae: 0.044\nmax fmeasure: 0.93\n", [0.044, 0.93]),
    "cocoKeyPoints": ("AP IoU=0.50:0.65\nAP IoU=0.50:0.70\n", [0.65, 0.70]),
    "total_text": ("precision is 0.8\nrecall is 0.7\nhmean is 0.75\n", [0.8, 0.7, 0.75]),
}


@pytest.mark.parametrize("metric", METRICS)
def test_scores_of_all_forms(metric: str, sample: Path) -> None:
    text, figures = WRITTEN[metric]
    (sample / "ok").write_text(text)
    assert scores(sample / "ok", metric) == figures[: len(METRICS[metric][0])]
    command = ["compare_eval", "--metric", metric, "--output_ok_file", str(sample / "ok"), "--model", "m"]
    worse = text.replace(f"{figures[0]:g}", f"{figures[0] - 0.01 * (-1) ** (metric == 'u2net'):g}")
    better = text.replace(f"{figures[0]:g}", f"{figures[0] + 0.01 * (-1) ** (metric == 'u2net'):g}")
    for name, changed in (("worse", worse), ("same", text), ("better", better)):
        (sample / name).write_text(changed)
        assert main([*command, "--output_file", str(sample / name)]) == 0
    report = Path(f"eval_{metric}_report.csv").read_text().splitlines()
    assert report[0].startswith("model,") and [line.rpartition(",")[2] for line in report] == [
        "result", "fail", "pass", "pass",
    ]  # fmt: skip
    (sample / "empty").write_text("nothing\n")
    with pytest.raises(EvaluationError, match="empty has no"):
        scores(sample / "empty", metric)


def test_tables_are_merged_and_shown(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (sample / f"{name}.csv").write_text(
            f"model,language,dataset,metric,eval,fps\n{name},python,D,top1,0.5,{name}00\n"
        )
    files = [str(sample / "a.csv"), str(sample / "b.csv")]
    assert main(["merge_table", *files, "--output", str(sample / "all.csv")]) == 0
    assert (sample / "all.csv").read_text().splitlines()[1:] == ["a,python,D,top1,0.5,a00", "b,python,D,top1,0.5,b00"]
    assert main(["show_table", str(sample / "all.csv")]) == 0
    shown = capsys.readouterr().out
    assert shown == (
        "model  language  dataset  metric  eval  fps\n-----  --------  -------  ------  ----  ---\n"
        "a      python    D        top1    0.5   a00\nb      python    D        top1    0.5   b00\n"
    )
    assert main(["merge_table", *files]) == 0
    assert capsys.readouterr().out == shown
