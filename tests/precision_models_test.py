"""What quantisation costs real networks, with the default settings.

SqueezeNet, faces, portraits and the random networks are scored on other data than they are calibrated with. Of the
digits, the small pictures, the keywords and the detectors' pictures some are both: there is no more of them. The
default algorithm was chosen by what these very networks scored with each, so the margins are those of a choice, not a
forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind
from magicmind.evaluation.voc import Detections, Objects, average_precision, read_objects
from magicmind.runtime.host.boxes import overlaps

cv2 = pytest.importorskip("cv2", reason="OpenCV 4 is not installed")
pytestmark = pytest.mark.slow

Array = np.ndarray[Any, np.dtype[Any]]
Feed = dict[str, Array]
INT8 = "qint8_mixed_float32"


def build(graph: magicmind.Graph, calibration: Sequence[Feed], precision: str = INT8) -> magicmind.Model:
    """The network quantised with the default settings."""
    return magicmind.build(graph, precision, calibration=calibration)


def planes(pixels: Array, mean: Any = 0.0, std: Any = 1.0) -> Array:
    """[H, W, C] of bytes as [1, C, H, W]: (x - mean) / std."""
    x = (pixels.astype(np.float32) - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)


def read(path: Path, size: tuple[int, int], *, rgb: bool, area: bool = False) -> Array:
    """A picture as [H, W, 3] of that (height, width)."""
    how = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    pixels: Array = cv2.resize(cv2.imread(str(path)), size[::-1], interpolation=how)
    return pixels[..., ::-1] if rgb else pixels


def run_all(model: magicmind.Model, feeds: Sequence[Feed]) -> list[Feed]:
    with model, model.session(threads=2) as session:
        return [session.run(feed) for feed in feeds]


# ----------------------------------------------------------------------------------------------------- classification


@pytest.fixture(scope="module")
def imagenet(data: Path) -> tuple[list[Feed], list[tuple[Feed, int]]]:
    """64 of the 200 images to calibrate with, spread evenly (number i * 200 // 64), and the other 136 with labels."""
    folder = data / "classification/imagenet_samples"
    lines = [line.rsplit(" ", 1) for line in (folder / "val.txt").read_text().splitlines() if line]
    chosen = {i * len(lines) // 64 for i in range(64)}
    cases = [
        ({"data": planes(read(folder / name, (227, 227), rgb=False), (104, 117, 123))}, int(label))
        for name, label in lines
    ]
    return [feed for i, (feed, _) in enumerate(cases) if i in chosen], [
        case for i, case in enumerate(cases) if i not in chosen
    ]


@pytest.fixture(scope="module")
def squeezenet(data: Path) -> magicmind.Graph:
    folder = data / "classification/squeezenet_v1_0"
    return magicmind.parse(
        folder / "squeezenet_v1_0.caffemodel",
        prototxt=folder / "deploy.prototxt",
        input_shapes={"data": (1, 3, 227, 227)},
    )


def right(outputs: Sequence[Feed], labels: Sequence[int]) -> tuple[int, int]:
    """How often the label is first, and among the first five."""
    order = [np.argsort(-next(iter(out.values())).ravel(), kind="stable")[:5] for out in outputs]
    first = sum(int(five[0]) == label for five, label in zip(order, labels, strict=True))
    return first, sum(label in five for five, label in zip(order, labels, strict=True))


@pytest.fixture(scope="module")
def squeezenet_float(squeezenet: magicmind.Graph, imagenet: Any) -> tuple[int, int]:
    _, scored = imagenet
    return right(run_all(magicmind.build(squeezenet), [f for f, _ in scored]), [label for _, label in scored])


LOSSES = {INT8: 3, "qint8_mixed_float16": 3, "qint16_mixed_float32": 1, "force_float16": 1}
"""Images of 136 that may be lost."""


@pytest.mark.parametrize("precision", [pytest.param(p, marks=[pytest.mark.suite] if p != INT8 else []) for p in LOSSES])
def test_squeezenet(
    precision: str, squeezenet: magicmind.Graph, imagenet: Any, squeezenet_float: tuple[int, int]
) -> None:
    calibration, scored = imagenet
    assert (len(calibration), len(scored)) == (64, 136)
    outputs = run_all(build(squeezenet, calibration, precision), [feed for feed, _ in scored])
    found = right(outputs, [label for _, label in scored])
    assert found[0] >= squeezenet_float[0] - LOSSES[precision], (found, squeezenet_float)
    assert found[1] >= squeezenet_float[1] - LOSSES[precision], (found, squeezenet_float)


def test_digits(data: Path) -> None:
    """LeNet: 990 of 1000 in float32."""
    folder = data / "classification/lenet_mnist_caffe"
    graph = magicmind.parse(
        folder / "lenet_iter_10000.caffemodel",
        prototxt=folder / "lenet.prototxt",
        input_shapes={"data": ("1..1000", 1, 28, 28)},
    )
    digits = np.load(folder / "mnist_test_1000.npz")
    images = digits["images_u8"].astype(np.float32) * digits["scale"]
    (outputs,) = run_all(build(graph, [{"data": images[i : i + 8]} for i in range(0, 64, 8)]), [{"data": images}])
    assert (outputs["prob"].argmax(1) == digits["labels"]).sum() >= 985


def test_small_pictures(data: Path) -> None:
    """CIFAR-10 quick, 200 pictures: within a point of float32."""
    folder = data / "classification/cifar10_quick_caffe_v1"
    graph = magicmind.parse(
        folder / "cifar10_quick_iter_5000.caffemodel",
        prototxt=folder / "cifar10_quick.prototxt",
        input_shapes={"data": ("1..200", 3, 32, 32)},
    )
    mean = np.load(folder / "reference.npz")["mean_image"]
    cases = np.load(data / "classification/cifar10_samples/cifar10_test_200.npz")
    images = np.ascontiguousarray((cases["images_u8"] - mean).transpose(0, 3, 1, 2), np.float32)
    calibration = [{"data": images[i : i + 1]} for i in range(0, 200, 4)]
    score = {}
    for precision in ("force_float32", INT8):
        model = magicmind.build(graph) if precision != INT8 else build(graph, calibration)
        (outputs,) = run_all(model, [{"data": images}])
        score[precision] = int((outputs["prob"].argmax(1) == cases["labels"]).sum())
    assert score[INT8] >= score["force_float32"] - 2, score


@pytest.mark.parametrize(("name", "frames"), [("DS_CNN_S", 49), ("CNN_S", 49), ("LSTM_S", 25)])
def test_keywords(data: Path, name: str, frames: int) -> None:
    folder = data / "audio/kws_tf"
    graph = magicmind.parse(folder / f"{name}_from_mfcc.pb").with_shapes({"Mfcc": (1, frames, 10)})
    case = np.load(folder / f"reference/{name}.npz")
    feeds = [{"Mfcc": case[f"{word}_mfcc"]} for word in ("yes", "no", "noise", "silence")]
    wanted = [int(case[f"{word}_prob"].argmax()) for word in ("yes", "no", "noise", "silence")]
    found = [int(out["labels_softmax"].argmax()) for out in run_all(build(graph, feeds), feeds)]
    assert found == wanted


# ---------------------------------------------------------------------------------------------------------- detection

Rows = Iterator[tuple[int, float, Array]]
"""Class, score, box (x1, y1, x2, y2 as shares of the picture)."""


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def decode_yolo(outputs: Feed) -> Rows:
    """MobileNetV2-YOLOv3-Nano: three anchors a map; see the README beside the network."""
    anchors = {10: [(189, 126), (137, 236), (265, 259)], 20: [(26, 48), (67, 84), (72, 175)]}
    for raw in outputs.values():
        side = raw.shape[-1]
        stretch = 1.1 if side == 10 else 1.05
        cells = raw.reshape(3, 25, side, side).astype(np.float64)
        rows, columns = np.indices((side, side))
        for (width, height), cell in zip(anchors[side], cells, strict=True):
            x = (sigmoid(cell[0]) * stretch - (stretch - 1) / 2 + columns) / side
            y = (sigmoid(cell[1]) * stretch - (stretch - 1) / 2 + rows) / side
            half = np.exp(cell[2]) * width / 640, np.exp(cell[3]) * height / 640
            boxes = np.stack([x - half[0], y - half[1], x + half[0], y + half[1]], -1)
            scores = sigmoid(cell[4]) * sigmoid(cell[5:])
            for c, row, column in zip(*np.nonzero(scores > 0.01), strict=True):
                yield int(c), float(scores[c, row, column]), boxes[row, column]


def decode_fastestdet(outputs: Feed) -> Rows:
    """Objectness, box and class scores per cell; see the README beside the network."""
    cells = outputs["758"][0].astype(np.float64)
    rows, columns = np.indices(cells.shape[1:])
    side = cells.shape[1]
    x, y = (columns + np.tanh(cells[1])) / side, (rows + np.tanh(cells[2])) / side
    half = sigmoid(cells[3]) / 2, sigmoid(cells[4]) / 2
    boxes = np.stack([x - half[0], y - half[1], x + half[0], y + half[1]], -1)
    scores = cells[0] ** 0.6 * cells[5:] ** 0.4
    for c, row, column in zip(*np.nonzero(scores > 0.05), strict=True):
        yield int(c), float(scores[c, row, column]), boxes[row, column]


def kept(rows: list[tuple[float, Array]], overlap: float = 0.45) -> list[tuple[float, Array]]:
    """Without boxes that overlap a surer one."""
    found: list[tuple[float, Array]] = []
    for score, box in sorted(rows, key=lambda row: -row[0]):
        if not found or overlaps(box, np.array([b for _, b in found])).max() <= overlap:
            found.append((score, box))
    return found


class Voc:
    """The 60 pictures of `voc_subset` and their objects."""

    def __init__(self, data: Path) -> None:
        folder = data / "detection/voc_subset"
        self.names = (folder / "voc.names").read_text().split()
        self.files = sorted((folder / "images").glob("*.jpg"))
        self.truth = {f.stem: read_objects(folder / f"annotations/{f.stem}.xml") for f in self.files}
        self.sizes = {f.stem: cv2.imread(str(f)).shape[:2] for f in self.files}

    def score(
        self, outputs: Sequence[Feed], files: Sequence[Path], decode: Callable[[Feed], Rows], names: Any
    ) -> float:
        """Mean average precision at an overlap of a half, over the classes that occur."""
        found: dict[str, list[tuple[str, float, Array]]] = {name: [] for name in self.names}
        for file, output in zip(files, outputs, strict=True):
            by_class: dict[str, list[tuple[float, Array]]] = {}
            height, width = self.sizes[file.stem]
            for c, score, box in decode(output):
                if names[c] in found:
                    by_class.setdefault(names[c], []).append((score, box * [width, height, width, height]))
            for name, rows in by_class.items():
                found[name] += [(file.stem, score, box) for score, box in kept(rows)]
        scores = []
        for name, rows in found.items():
            truth = {f.stem: self.truth[f.stem][name] for f in files if name in self.truth[f.stem]}
            table = Detections([r[0] for r in rows], np.array([r[1] for r in rows]), np.array([r[2] for r in rows]))
            missing = {f.stem: NOTHING for f in files if f.stem not in truth}
            scores.append(average_precision(table, {**truth, **missing}))
        return float(np.nanmean(scores))


NOTHING = Objects(np.zeros((0, 4)), np.zeros(0, bool))


def yolo(data: Path) -> magicmind.Graph:
    stem = data / "detection/yolov3_nano_voc_caffe/MobileNetV2-YOLOv3-Nano-voc"
    return magicmind.parse(stem.with_suffix(".caffemodel"), prototxt=stem.with_suffix(".prototxt"))


@pytest.mark.parametrize("name", ["yolov3_nano", "fastestdet"])
def test_detectors(data: Path, name: str) -> None:
    """mAP50 within 1.5 points of float32 on the 60 pictures; every third one is calibrated with."""
    voc = Voc(data)
    if name == "yolov3_nano":
        graph, decode, names = yolo(data), decode_yolo, voc.names
        feeds = [{"data": planes(read(f, (320, 320), rgb=True), std=255)} for f in voc.files]
    else:
        folder = data / "detection/fastestdet_coco"
        graph, decode = magicmind.parse(folder / "FastestDet.onnx"), decode_fastestdet
        names = (folder / "coco.names").read_text().splitlines()
        feeds = [{"input.1": planes(read(f, (352, 352), rgb=False, area=True), std=255)} for f in voc.files]
    scores = {}
    for precision in ("force_float32", INT8):
        model = magicmind.build(graph) if precision != INT8 else build(graph, feeds[::3])
        scores[precision] = voc.score(run_all(model, feeds), voc.files, decode, names)
    assert scores["force_float32"] > (0.84 if name == "yolov3_nano" else 0.56), scores
    assert scores[INT8] >= scores["force_float32"] - 0.015, scores


def test_faces(data: Path) -> None:
    """At least 95 % of the faces that float32 is sure of are found again where they were."""
    folder = data / "detection/rfb320_face"
    graph = magicmind.parse(folder / "version-RFB-320.onnx")
    files = sorted((folder / "images").glob("*.jpg"))
    feeds = [{"input": planes(read(f, (240, 320), rgb=True), 127, 128)} for f in files]
    pictures = sorted((data / "detection/voc_subset/images").glob("*.jpg"))[::3]
    calibration = [{"input": planes(read(f, (240, 320), rgb=True), 127, 128)} for f in pictures]
    found = 0
    boxes = [
        [np.array([box for _, box in faces(out)]) for out in run_all(model, feeds)]
        for model in (magicmind.build(graph), build(graph, calibration))
    ]
    total = sum(len(wanted) for wanted in boxes[0])
    for wanted, got in zip(*boxes, strict=True):
        found += sum(len(got) > 0 and float(overlaps(box, got).max()) > 0.8 for box in wanted)
    assert total > 60 and found >= 0.95 * total, (found, total)


def faces(outputs: Feed) -> list[tuple[float, Array]]:
    scores, boxes = outputs["scores"][0, :, 1], outputs["boxes"][0] * [320, 240, 320, 240]
    return kept([(float(scores[i]), boxes[i]) for i in np.flatnonzero(scores > 0.5)], overlap=0.3)


# ------------------------------------------------------------------------------------------- segmentation, random nets


@pytest.mark.parametrize("side", [257, pytest.param(513, marks=pytest.mark.suite)])
def test_portraits(data: Path, side: int) -> None:
    """DeepLab: the person's mask overlaps float32's by 0.97; calibrated on other pictures."""
    folder = data / "segmentation/deeplab_dm05_tf"
    graph = magicmind.parse(
        folder / "frozen_inference_graph.pb",
        outputs=["SemanticPredictions"],
        input_shapes={"ImageTensor": (1, side, side, 3)},
    )
    pictures = sorted((data / "detection/voc_subset/images").glob("*.jpg"))[::4]
    portraits = sorted((data / "segmentation/images").glob("*.jpg"))
    feeds = [
        [{"ImageTensor": read(f, (side, side), rgb=True)[None].copy()} for f in files]
        for files in (pictures, portraits)
    ]
    wanted, got = (run_all(model, feeds[1]) for model in (magicmind.build(graph), build(graph, feeds[0])))
    for a, b in zip(wanted, got, strict=True):
        one, other = a["SemanticPredictions"] == 1, b["SemanticPredictions"] == 1
        assert one.sum() > 1000
        assert (one & other).sum() / (one | other).sum() >= 0.97


@pytest.mark.parametrize("name", ["resnet50", "mobilenetv2"])
def test_random_weights(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """At least 20 dB at the outputs, from a file of at most 0.32 of the float32 weights' bytes."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import models

    proto = models.MODELS[name](1)
    graph = magicmind.parse(proto)
    rng = np.random.default_rng(0)
    feeds = [{"data": rng.standard_normal((1, 3, 224, 224)).astype(np.float32)} for _ in range(6)]
    integer = build(graph, feeds[:4])
    integer.save(tmp_path / "integer.mm")
    weights = sum(4 * prod(tensor.dims) for tensor in proto.graph.initializer)
    assert (tmp_path / "integer.mm").stat().st_size <= 0.32 * weights
    wanted, got = (run_all(model, feeds[4:]) for model in (magicmind.build(graph), integer))
    for key in wanted[0]:
        a, b = (np.concatenate([out[key].ravel() for out in side]).astype(np.float64) for side in (wanted, got))
        assert 10 * np.log10((a @ a) / ((a - b) @ (a - b))) >= 20
