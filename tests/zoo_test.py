"""The samples from end to end: real weights against recorded scores, random weights against their frameworks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the extra 'zoo' is not installed")

import magicmind
from magicmind.cli import main
from magicmind.cli.entry import parser
from magicmind.evaluation.segmentation import nearest, read_labels
from magicmind.zoo.build import build, image_graph
from magicmind.zoo.datasets import Given, load
from magicmind.zoo.export import export, quiet
from magicmind.zoo.infer import infer, open_session
from magicmind.zoo.perf import PRECISIONS
from magicmind.zoo.pictures import made_dataset, picture
from magicmind.zoo.samples import SAMPLES
from magicmind.zoo.score import Score, score
from magicmind.zoo.workspace import Request

Array = np.ndarray[Any, Any]
FIVE = ("mobilenetv2_caffe", "resnet50_onnx", "deeplabv3_tf", "volo_d2_pytorch", "centernet_pytorch")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Data sets and folders of whoever runs the tests have no part in them."""
    for name in ("PROJ_ROOT_PATH", "DATASETS_PATH", "ILSVRC2012_DATASETS_PATH", "COCO_DATASETS_PATH", "UTILS_PATH"):
        monkeypatch.delenv(name, raising=False)
    yield


def ready(name: str, root: Path, given: Path, **how: Any) -> Request:
    """A request whose model is built from the published files in `given`."""
    request = Request(SAMPLES[name], root=root, **how)
    export(request, quiet, given=given)
    build(request, None)
    return request


def scored(name: str, root: Path, given: Path, dataset: Path, **how: Any) -> Score:
    request = ready(name, root, given, **how)
    data = load(request.sample.dataset, Given(root=dataset))
    return score(request, data, infer(request, data))


# -------------------------------------------------------------------------------------------------------- real weights


@pytest.mark.slow
def test_squeezenet_scores_as_recorded(data: Path, tmp_path: Path) -> None:
    folder = data / "classification"
    found = scored(
        "squeezenet_caffe", tmp_path, folder / "squeezenet_v1_0", folder / "imagenet_samples", mutable=True, batch=8
    )
    assert found.figures == {"top1": 0.69, "top5": 0.865}
    assert found.lines == ["top1:  0.69", "top5:  0.865"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "recorded", "batch"),
    [("yolov3_nano_caffe", "yolov3_nano_voc_caffe", 0.867, 4), ("fastestdet_onnx", "fastestdet_coco", 0.581, 1)],
)
def test_detectors_score_as_recorded(
    name: str, folder: str, recorded: float, batch: int, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools", reason="the extra 'zoo' is not installed")
    found = scored(name, tmp_path, data / "detection" / folder, data / "detection/voc_subset", batch=batch)
    assert abs(found.figures["mAP50"] - recorded) <= 0.005
    assert len(found.lines) == 13
    assert found.lines[0] == "num of images: 60"


@pytest.mark.slow
def test_faces_are_found_as_recorded(data: Path, tmp_path: Path) -> None:
    folder = data / "detection/rfb320_face"
    request = ready("rfb320_onnx", tmp_path, folder)
    outcome = infer(request, load("pictures", Given(root=folder)))
    assert {item.name: count for item, count in outcome.records} == {
        "1.jpg": 46, "13.jpg": 2, "19.jpg": 5, "2.jpg": 4, "23.jpg": 3, "3.jpg": 5, "5.jpg": 1, "9.jpg": 8,
    }  # fmt: skip


@pytest.mark.slow
def test_people_are_where_the_reference_has_them(data: Path, tmp_path: Path) -> None:
    folder = data / "segmentation/deeplab_dm05_tf"
    request = ready("deeplab_person_tf", tmp_path, folder, mutable=True)
    with open_session(request) as session:
        for name in ("two", "obama"):
            case = np.load(folder / f"reference/{name}.npz")
            (found,) = session.run({"ImageTensor": case["ImageTensor"]}).values()
            assert (found != case["SemanticPredictions"]).mean() < 1e-5
    infer(request, load("pictures", Given(root=data / "segmentation")))
    for name in ("two", "obama"):  # through the sample's own decoding and resizing
        wanted = np.load(folder / f"reference/{name}.npz")["SemanticPredictions"][0] != 0
        mask = nearest(read_labels(request.output / f"{name}.png"), *wanted.shape) != 0
        assert (mask & wanted).sum() / (mask | wanted).sum() > 0.99


# ------------------------------------------------------------------------------------------------------ random weights


LONG = {  # up to a minute each; every sample is left in one precision, and every precision in three samples
    "volo_d2_pytorch": ("force_float32", "qint8_mixed_float16"),
    "centernet_pytorch": ("force_float16", "qint8_mixed_float16"),
    "resnet50_onnx": ("force_float16",),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param(name, precision, marks=[pytest.mark.suite] if precision in LONG.get(name, ()) else [])
        for name in FIVE
        for precision in PRECISIONS
    ],
)
def test_every_sample_runs_without_a_download(
    name: str, precision: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    if SAMPLES[name].source.framework == "pytorch":
        pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")
    root = tmp_path_factory.getbasetemp() / name  # precisions share the network's files
    options = ["--weights", "random", "--root", str(root), "--precision", precision, "--shape-mutable", "true"]
    options += ["--batch-size", "1" if name == "deeplabv3_tf" else "2", "--image-num", "3"]
    assert main(["zoo", "run", name, *options, "--calibration-num", "2", "--save-img"]) == 0
    said = capsys.readouterr().out
    assert "Generate model done, model save to" in said
    assert "3 pictures, results in" in said
    request = Request(SAMPLES[name], precision=precision, mutable=True, batch=2, weights="random", root=root)
    assert len(list(request.output.glob("made_*.jpg"))) == 3
    assert main(["zoo", "build", name, *options]) == 0
    assert "already exist" in capsys.readouterr().out
    if name == "centernet_pytorch":
        prepared = np.stack([request.preparation.of(picture(seed)).pixels for seed in (1, 2)])
        with open_session(request) as session:
            assert_peaks_are_exact(list(session.run({session.inputs[0].name: prepared}).values()))


def torch_outputs(path: Path, x: Array) -> list[Array]:
    torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")
    with torch.no_grad():
        found = torch.jit.load(str(path))(torch.from_numpy(x))
    return [t.numpy() for t in (found if isinstance(found, tuple) else (found,))]


def opencv_outputs(path: Path, x: Array) -> list[Array]:
    import cv2

    net = cv2.dnn.readNetFromCaffe(str(path.with_name("mobilenet_v2_deploy.prototxt")), str(path))
    net.setInput(x, "data")
    return [np.asarray(net.forward())]


def onnx_outputs(path: Path, x: Array) -> list[Array]:
    ort = pytest.importorskip("onnxruntime", reason="the extra 'bench' is not installed")
    found: list[Array] = ort.InferenceSession(str(path)).run(None, {"data": x})
    return found


FRAMEWORKS: dict[str, Callable[[Path, Array], list[Array]]] = {
    "mobilenetv2_caffe": opencv_outputs,
    "resnet50_onnx": onnx_outputs,
    "volo_d2_pytorch": torch_outputs,
    "centernet_pytorch": torch_outputs,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_built_samples_agree_with_their_frameworks(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """From the bytes of a picture on, with the normalisation that the built model has inside."""
    if SAMPLES[name].source.framework == "pytorch":
        pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")
    root = tmp_path_factory.getbasetemp() / name
    request = Request(SAMPLES[name], weights="random", root=root)
    export(request, quiet)
    build(request, None)
    prepared = request.preparation.of(picture(5)).pixels[None]
    with open_session(request) as session:
        found = list(session.run({session.inputs[0].name: prepared}).values())
    x = prepared.astype(np.float32)
    preparation = request.preparation
    if preparation.inside:
        mean, std = np.array(preparation.mean, np.float32), np.array(preparation.std, np.float32)
        x = (x - mean) / std
    files = export(request, quiet)
    expected = FRAMEWORKS[name](files[0], np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
    if name == "centernet_pytorch":
        assert_peaks_are_exact(found)


def assert_peaks_are_exact(outputs: list[Array]) -> None:
    """hm_max is the 3x3 maximum of the heatmap bit for bit, as the decoder's test for a peak needs it."""
    hm_max, heatmap, wh, reg = outputs
    assert wh.shape[1] == reg.shape[1] == 2
    padded = np.pad(heatmap, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    around = np.max([padded[:, :, y : y + 128, x : x + 128] for y in range(3) for x in range(3)], 0)
    np.testing.assert_array_equal(hm_max, around)
    assert (hm_max == heatmap).any((1, 2, 3)).all()


@pytest.mark.slow
def test_built_deeplab_agrees_with_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> None:
    tf = pytest.importorskip("tensorflow", reason="needs the extra 'tensorflow'")
    request = Request(SAMPLES["deeplabv3_tf"], weights="random", root=tmp_path_factory.getbasetemp() / "deeplabv3_tf")
    (path,) = export(request, quiet)
    build(request, None)
    pixels = request.preparation.of(picture(5)).pixels[None]
    with open_session(request) as session:
        (found,) = session.run({"ImageTensor": pixels}).values()
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(definition, name="")
        expected = session.run("SemanticPredictions:0", {"ImageTensor:0": pixels})
    assert found.shape == expected.shape == (1, 513, 513)
    assert len(np.unique(expected)) > 1
    assert (found != expected).mean() <= 1e-4  # classes that are as likely


@pytest.mark.slow
def test_one_mutable_deeplab_gives_what_models_of_fixed_sizes_give(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "deeplabv3_tf"
    request = Request(SAMPLES["deeplabv3_tf"], weights="random", mutable=True, root=root)
    export(request, quiet)
    build(request, None)
    graph = image_graph(request)
    with open_session(request) as session:
        for height, width in ((513, 513), (385, 513), (101, 200)):
            pixels = picture(height, height, width)[None]
            (found,) = session.run({"ImageTensor": pixels}).values()
            fixed = magicmind.build(graph, shapes={"ImageTensor": (1, height, width, 3)})
            (expected,) = fixed.session().run({"ImageTensor": pixels}).values()
            assert found.shape == (1, height, width)
            assert (found != expected).mean() < 1e-3  # classes that are as likely
            fixed.close()


# ----------------------------------------------------------------------------------------------------- command line


def test_the_list_names_all_samples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in SAMPLES)


def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path)]
    for command, words in (
        (["export", "centernet"], "did you mean centernet_pytorch?"),
        (["build", "resnet50_onnx", *root], "magicmind zoo export resnet50_onnx gets the network"),
        (["infer", "resnet50_onnx", *root], "ImageNet ILSVRC2012 (validation) is missing"),
        (["infer", "resnet50_onnx", "a.jpg", *root], "magicmind zoo build resnet50_onnx"),
        (["export", "squeezenet_caffe", "--weights", "random", *root], "no random weights"),
        (["export", "squeezenet_caffe", *root], "--from FOLDER takes files"),
        (["build", "resnet50_onnx", "--precision", "int7", *root], "'int7' is not supported"),
    ):
        assert main(["zoo", *command]) == 1
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("order", [["--batch-size", "2", "a.jpg", "b.jpg"], ["a.jpg", "b.jpg", "--batch_size", "2"]])
def test_options_and_pictures_in_any_order(order: list[str]) -> None:
    found = parser().parse_args(["zoo", "infer", "resnet50_onnx", *order])
    assert (found.name, found.images, found.batch) == ("resnet50_onnx", [Path("a.jpg"), Path("b.jpg")], 2)


def test_every_spelling_of_the_samples_is_taken() -> None:
    old = ["--quant_mode", "forced_float32", "--shape_mutable", "true", "--tf_mode", "g.pb", "--image_dir", "d"]
    found = parser().parse_args(["zoo", "build", "deeplabv3_tf", *old, "--file_list", "val.txt", "--device_id", "0"])
    assert (found.precision, found.mutable, found.model) == ("forced_float32", True, Path("g.pb"))
    found = parser().parse_args(["zoo", "eval", "centernet_pytorch", "--dynamic_shape", "false", "--img_num", "10"])
    assert (found.mutable, found.image_num, found.precision) == (False, 10, None)


def test_made_pictures_repeat(tmp_path: Path) -> None:
    first, second = made_dataset(tmp_path / "a", 2), made_dataset(tmp_path / "b", 2)
    assert not first.truth
    for one, other in zip(first.items, second.items, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


SCRIPTS = Path(__file__).parents[1] / "samples"
COMMANDS = [
    ("mobilenetv2_caffe/gen_model/run.sh", "force_float32 false 1",
     "zoo build mobilenetv2_caffe --precision force_float32 --shape-mutable false --batch-size 1"),
    ("mobilenetv2_caffe/infer_cpp/run.sh", "force_float32 false 1",
     "zoo infer mobilenetv2_caffe --precision force_float32 --shape-mutable false --batch-size 1 --image-num -1"),
    ("mobilenetv2_caffe/benchmark/eval.sh", "force_float32 false 1 1000",
     "zoo eval mobilenetv2_caffe --precision force_float32 --shape-mutable false --batch-size 1 --image-num 1000"),
    ("resnet50_onnx/infer_python/run.sh", "force_float32 true 1 100",
     "zoo infer resnet50_onnx --precision force_float32 --shape-mutable true --batch-size 1 --image-num 100"),
    ("resnet50_onnx/infer_python/run.sh", "force_float32 false 4 --weights random",
     "zoo infer resnet50_onnx --precision force_float32 --shape-mutable false --batch-size 4 --image-num 100 "
     "--weights random"),
    ("resnet50_onnx/export_model/get_datasets_and_models.sh", "--weights random",
     "zoo export resnet50_onnx --weights random"),
    ("deeplabv3_tf/gen_model/run.sh", "qint8_mixed_float16 true",
     "zoo build deeplabv3_tf --precision qint8_mixed_float16 --shape-mutable true --batch-size 1"),
    ("deeplabv3_tf/gen_model/run.sh", "force_float32 true 1 --rebuild",
     "zoo build deeplabv3_tf --precision force_float32 --shape-mutable true --batch-size 1 --rebuild"),
    ("deeplabv3_tf/infer_cpp/run.sh", "force_float32 true 1000",
     "zoo infer deeplabv3_tf --precision force_float32 --shape-mutable true --image-num 1000"),
    ("volo_d2_pytorch/gen_model/run.sh", "force_float32 true 192",
     "zoo build volo_d2_pytorch --precision force_float32 --shape-mutable true --batch-size 192"),
    ("centernet_pytorch/gen_model/run.sh", "qint8_mixed_float16 true 1 0.001 0.65 1000",
     "zoo build centernet_pytorch --precision qint8_mixed_float16 --shape-mutable true --batch-size 1"),
    ("centernet_pytorch/gen_model/run.sh", "force_float32 --weights random",
     "zoo build centernet_pytorch --precision force_float32 --shape-mutable true --batch-size 1 --weights random"),
    ("centernet_pytorch/infer_python/run.sh", "",
     "zoo infer centernet_pytorch --precision qint8_mixed_float16 --shape-mutable true --batch-size 1 --image-num 10"),
    ("centernet_pytorch/benchmark/perf.sh", "--peers openvino", "zoo perf centernet_pytorch --peers openvino"),
    ("volo_d2_pytorch/run.sh", "",
     "zoo run volo_d2_pytorch --precision force_float32 --shape-mutable true --batch-size 128"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "arguments", "command"), COMMANDS)
def test_scripts_call_the_command(script: str, arguments: str, command: str, tmp_path: Path) -> None:
    stub = tmp_path / "magicmind"
    stub.write_text('#!/bin/sh\necho "$@"\necho "$PROJ_ROOT_PATH"\n')
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DATASETS_PATH": "/data"}
    found = subprocess.run(
        ["bash", str(SCRIPTS / script), *arguments.split()], capture_output=True, text=True, check=True, env=environment
    )
    said, root = found.stdout.splitlines()
    assert said == command
    assert Path(root) == SCRIPTS / script.split("/")[0]


def test_the_environment_is_shown_to_be_checked(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "COCO_DATASETS_PATH": "/coco"}
    command = f"source {SCRIPTS}/centernet_pytorch/env.sh"
    found = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, check=True, env=environment)
    said = dict(line.split("=", 1) for line in found.stdout.splitlines()[:-1])
    assert said["DATASETS_PATH"] == "/coco"
    assert said["MODEL_PATH"] == str(SCRIPTS / "centernet_pytorch/data/models")
    assert said["UTILS_PATH"] == str(SCRIPTS / "utils")
    assert said.keys() >= {"PROJ_ROOT_PATH", "MAGICMIND_CLOUD", "MM_RUN_PATH"}
    assert "check" in found.stdout.splitlines()[-1]


@pytest.mark.slow
def test_scripts_run_as_printed(data: Path, tmp_path: Path) -> None:
    """All steps of a sample in its folder, as its README has them, on pictures with labels."""
    sample = tmp_path / "mobilenetv2_caffe"
    shutil.copytree(SCRIPTS / "mobilenetv2_caffe", sample)
    command = tmp_path / "magicmind"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from magicmind.cli import main; exit(main())" "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(magicmind.__file__).parents[1]),
        "DATASETS_PATH": str(data / "classification/imagenet_samples"),
        "UTILS_PATH": str(SCRIPTS / "utils"),
    }
    how = "--weights random"
    for line, words in (
        (f"export_model/run.sh {how}", "mobilenet_v2.caffemodel"),
        (f"gen_model/run.sh force_float32 true 1 {how}", "Generate model done, model save to "),
        (f"gen_model/run.sh force_float32 true 1 {how}", "already exist"),
        (f"infer_cpp/run.sh force_float32 true 1 {how} --image_num 3", "3 pictures, results in "),
        (f"benchmark/eval.sh force_float32 true 1 {how} --image_num 3", "top1:  "),
        (f"benchmark/perf.sh {how} --precisions force_float32 --batches 1 --duration 0.2 --iterations 3", "perf.json"),
        (f"run.sh {how} --image_num 2", "top5:  "),
    ):
        found = subprocess.run(
            ["bash", *line.split()], cwd=sample, capture_output=True, text=True, env=environment, check=False
        )
        assert found.returncode == 0, found.stderr
        assert words in found.stdout
    output = sample / "data-random/output/force_float32_true_1"
    files = [f"--{n}_file={output}/eval_{f}.txt" for n, f in SCORED_FILES.items()]
    subprocess.run(
        [sys.executable, SCRIPTS / "utils/compute_top1_and_top5.py", *files], check=True, env=environment,
        capture_output=True,
    )  # fmt: skip
    assert (output / "eval_result.txt").read_text().startswith("top1 accuracy: ")


SCORED_FILES = {
    "result_label": "labels", "result_1": "result_1", "result_5": "result_5", "top1andtop5": "result",
}  # fmt: skip


def test_every_sample_has_its_scripts() -> None:
    for name in FIVE:
        present = {str(path.relative_to(SCRIPTS / name)) for path in (SCRIPTS / name).rglob("*.sh")}
        expected = {
            "env.sh",
            "run.sh",
            "export_model/run.sh",
            "gen_model/run.sh",
            "benchmark/perf.sh",
            "benchmark/eval.sh",
        }
        assert expected <= present
        assert f"zoo/{name}.md" in (SCRIPTS / name / "README.md").read_text()
        assert {"infer_cpp/run.sh", "infer_python/run.sh"} & present
        assert SAMPLES[name].location.endswith(name)
