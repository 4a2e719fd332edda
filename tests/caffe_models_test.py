"""Real Caffe networks against their recorded results, and structures with random weights against OpenCV."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind
from magicmind.frontends.caffe.prototxt import parse_prototxt
from magicmind.frontends.caffe.source import CaffeSource
from magicmind.graph import SourceGraph
from magicmind.testing.caffe import RandomWeights, caffemodel, random_network

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-4  # of the largest element


def relative(found: Array, expected: Array) -> float:
    """The largest difference as a share of the largest element; shapes may differ by ones."""
    return float(np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max())


def session_of(graph: magicmind.Graph) -> Callable[[Array], dict[str, Array]]:
    """The graph compiled, as a function of its only input."""
    session = magicmind.build(graph).session(threads=2)
    name = graph.inputs[0].name
    return lambda x: session.run({name: x})


def image_feed(case: Mapping[str, Array]) -> Array:
    """A reference file's pixels as the network's input."""
    x = ((case["input_u8"].astype(np.float32) - case["mean"]) * case["scale"]).astype(np.float32)
    return np.ascontiguousarray((x if x.ndim == 4 else x[None]).transpose(0, 3, 1, 2))


def read(folder: Path, name: str, shapes: Any = None) -> magicmind.Graph:
    return magicmind.parse(folder / f"{name}.caffemodel", prototxt=folder / f"{name}.prototxt", input_shapes=shapes)


# --------------------------------------------------------------------------------------------------------- real models


def test_lenet(data: Path) -> None:
    folder = data / "classification/lenet_mnist_caffe"
    graph = magicmind.parse(
        folder / "lenet_iter_10000.caffemodel",
        prototxt=folder / "lenet.prototxt",
        input_shapes={"data": ("1..1000", 1, 28, 28)},
    )
    digits = np.load(folder / "mnist_test_1000.npz")
    prob = session_of(graph)(digits["images_u8"].astype(np.float32) * digits["scale"])["prob"]
    assert relative(prob, digits["prob"]) < TOLERANCE
    assert (prob.argmax(1) == digits["labels"]).sum() == 990


def test_cifar10_quick_of_2014(data: Path) -> None:
    folder = data / "classification/cifar10_quick_caffe_v1"
    graph = magicmind.parse(
        folder / "cifar10_quick_iter_5000.caffemodel",
        prototxt=folder / "cifar10_quick.prototxt",
        input_shapes={"data": ("1..16", 3, 32, 32)},
    )
    case = np.load(folder / "reference.npz")
    x = np.ascontiguousarray((case["images_u8"] - case["mean_image"]).transpose(0, 3, 1, 2), np.float32)
    assert relative(session_of(graph)(x)["prob"], case["prob"]) < TOLERANCE


@pytest.mark.slow
def test_squeezenet(data: Path) -> None:
    folder = data / "classification/squeezenet_v1_0"
    run = session_of(squeezenet(folder))
    for path in sorted((folder / "reference").glob("*.npz")):
        case = np.load(path)
        assert relative(run(image_feed(case))["pool_final"], case["pool_final"]) < TOLERANCE


def squeezenet(folder: Path) -> magicmind.Graph:
    return magicmind.parse(
        folder / "squeezenet_v1_0.caffemodel",
        prototxt=folder / "deploy.prototxt",
        input_shapes={"data": (1, 3, 227, 227)},
    )


@pytest.mark.slow
def test_squeezenet_is_right_as_often_as_recorded(data: Path) -> None:
    """Top-1 69.0 %, top-5 86.5 % of 200 images, and the same five classes for nearly every one."""
    run = session_of(squeezenet(data / "classification/squeezenet_v1_0"))
    assert right_answers(lambda x: run(x)["pool_final"], data).tolist() == [138, 173]


def right_answers(run: Callable[[Array], Array], data: Path) -> Array:
    """How many of 200 images have their class as the best of SqueezeNet's, and among the five best."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV 4 is not installed")
    images = data / "classification/imagenet_samples"
    right = np.zeros(2, int)
    lines = (images / "val.txt").read_text().split("\n")
    cases = [line.rsplit(" ", 1) for line in lines if line]
    for name, label in cases:
        pixels = cv2.resize(cv2.imread(str(images / name)), (227, 227))
        x = (pixels.astype(np.float32) - np.array([104, 117, 123], np.float32)).transpose(2, 0, 1)[None]
        best = np.argsort(-run(np.ascontiguousarray(x)).reshape(-1), kind="stable")[:5]
        right += [int(best[0] == int(label)), int(int(label) in best)]
    assert len(cases) == 200
    return right


@pytest.mark.slow
def test_yolov3_nano(data: Path) -> None:
    folder = data / "detection/yolov3_nano_voc_caffe"
    run = session_of(read(folder, "MobileNetV2-YOLOv3-Nano-voc"))
    for path in sorted((folder / "reference").glob("*.npz")):
        case = np.load(path)
        found = run(image_feed(case))
        assert relative(found["layer69-conv"], case["layer69_conv"]) < TOLERANCE
        assert relative(found["layer79-conv"], case["layer79_conv"]) < TOLERANCE


MTCNN = {
    "det1": ({"data": ("1..16", 3, "12..", "12..")}, ("net12", "pnet_image13"), ("conv4-2", "prob1")),
    "det2": ({"data": ("1..16", 3, 24, 24)}, ("net24",), ("conv5-2", "prob1")),
    "det3": ({"data": ("1..16", 3, 48, 48)}, ("net48",), ("conv6-2", "conv6-3", "prob1")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MTCNN)
def test_mtcnn(data: Path, name: str) -> None:
    folder = data / "detection/mtcnn_caffe"
    shapes, files, outputs = MTCNN[name]
    graph = read(folder, name, shapes)
    assert [info.name for info in graph.outputs] == list(outputs)
    run = session_of(graph)
    for file in files:
        case = np.load(folder / "reference" / f"{file}.npz")
        found = run(image_feed(case))
        for output in outputs:
            assert relative(found[output], case[output.replace("-", "_")]) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RFB", "slim"])
def test_face_detectors(data: Path, name: str) -> None:
    folder = data / "detection/rfb320_face"
    run = session_of(read(folder, f"{name}-320"))
    for path in sorted((folder / "reference").glob("*.npz")):
        case = np.load(path)
        found = run(image_feed(case))
        for output in ("scores", "boxes"):
            assert relative(found[output], case[f"{name.lower()}_caffe_{output}"]) < TOLERANCE


# ---------------------------------------------------------------------------------------------------------- structures

LOGITS = {
    "mobilenet_v2_deploy": "fc7",
    "squeezenet_v1_1_deploy": "pool10",
    "bvlc_googlenet_deploy": "loss3/classifier",
    "bvlc_alexnet_deploy": "fc8",
    "resnet50_deploy": "fc1000",
    "vgg16_deploy": "classifier",
    "inception_v3_deploy": "classifier",
    "shufflenet_v2_x1_0": "fc",
}
"""What goes into the softmax: with random weights it leaves one class."""
LONG = ("vgg16_deploy", "inception_v3_deploy")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.suite] if name in LONG else []) for name in LOGITS]
)
def test_structure_as_opencv(data: Path, name: str) -> None:
    path = data / "zoo_structures" / f"{name}.prototxt"
    text, expected = path.read_text(), expected_of(path)
    shape = (1, *expected["inputs"]["data"][1:])
    graph, weights = random_network(text, {"data": shape})
    assert weights.parameters == expected["parameters"]
    assert {i.name: [1, *i.shape[1:]] for i in graph.outputs} == {
        n: [1, *dims[1:]] for n, dims in expected["outputs"].items()
    }
    outputs = list(dict.fromkeys([LOGITS[name], *expected["outputs"]]))
    compare(text, weights, outputs, shape)


def expected_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_name("expected.json").read_text())[path.name]
    return found


def compare(
    text: str, weights: RandomWeights, outputs: list[str], shape: tuple[int, ...], opencv: str | None = None
) -> dict[str, Array]:
    """Runs the network here and in OpenCV (there as the text `opencv`, if given); what was found here."""
    found = session_of(chosen(text, weights, outputs, shape))(noise(shape))
    for name, reference in zip(outputs, run_opencv(opencv or text, weights, outputs, shape), strict=True):
        assert relative(found[name], reference) < TOLERANCE, name
    return found


def chosen(text: str, weights: RandomWeights, outputs: list[str], shape: tuple[int, ...]) -> SourceGraph:
    return SourceGraph.of(CaffeSource(parse_prototxt(text, "net"), weights, outputs), {"data": shape})


def noise(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def run_opencv(text: str, weights: RandomWeights, outputs: list[str], shape: tuple[int, ...]) -> list[Array]:
    cv2 = pytest.importorskip("cv2", reason="OpenCV 4 is not installed")
    blobs = dict(weights.blobs) | {name: [np.ones(s, np.float32)] for name, s in REPEATS.items() if name in text}
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8), np.frombuffer(caffemodel(blobs), np.uint8))
    net.setInput(noise(shape), "data")
    return list(net.forward(outputs))


@pytest.mark.slow
def test_ssd_as_opencv(data: Path) -> None:
    text = (data / "zoo_structures/mobilenet_ssd_voc_deploy.prototxt").read_text()
    shape = (1, 3, 300, 300)
    _, weights = random_network(text)
    maps = ["mbox_loc", "mbox_conf_flatten", "mbox_priorbox"]
    found = session_of(chosen(text, weights, [*maps, "detection_out"], shape))(noise(shape))
    *references, rows = run_opencv(text, weights, [*maps, "detection_out"], shape)
    for name, reference in zip(maps, references, strict=True):
        assert relative(found[name], reference) < TOLERANCE
    by_score = [table[np.argsort(-table[:, 2])] for table in (found["detection_out"], rows[0, 0])]
    assert by_score[0].shape == by_score[1].shape == (100, 7)
    assert relative(*by_score) < TOLERANCE


REPEATS = {"layer86-upsample": (256, 1, 2, 2), "layer98-upsample": (128, 1, 2, 2)}
"""Upsample, which OpenCV does not read, as a transposed convolution with ones."""


@pytest.mark.slow
def test_darknet_yolov3_as_opencv(data: Path) -> None:
    text = (data / "zoo_structures/darknet_yolov3.prototxt").read_text()
    shape = (1, 3, 128, 128)  # of 416: an eighth of the work
    graph, weights = random_network(text, {"data": shape})
    assert [info.shape for info in graph.outputs] == [((0, None), 7)]
    channels = iter(REPEATS.values())

    def repeated(_: re.Match[str]) -> str:
        c = next(channels)[0]
        return (
            f'type: "Deconvolution" convolution_param {{ num_output: {c} group: {c} kernel_size: 2 stride: 2 '
            "bias_term: false }"
        )

    body = text[: text.rindex("layer {")]
    body = re.sub(r'type: "Upsample"\s*upsample_param \{\s*scale: 2\s*\}', repeated, body)
    compare(text, weights, ["layer82-conv", "layer94-conv", "layer106-conv"], shape, body)


# ---------------------------------------------------------------------------------------------------------------- cost

MEASURE = """
import sys, resource
import magicmind
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
graph = magicmind.parse(sys.argv[1], prototxt=sys.argv[2])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_reading_resnet50_takes_thrice_its_weights(data: Path, tmp_path: Path) -> None:
    prototxt = data / "zoo_structures/resnet50_deploy.prototxt"
    _, weights = random_network(prototxt.read_text())
    model = tmp_path / "resnet50.caffemodel"
    model.write_bytes(caffemodel(weights.blobs))
    command = [sys.executable, "-c", MEASURE, str(model), str(prototxt)]
    nbytes = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert nbytes < 3 * model.stat().st_size
