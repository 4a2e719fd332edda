"""MagicMind's ends of detectors against loops over boxes, written down from the papers and public programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import magicmind
from magicmind.errors import Error, ModelFormatError, ShapeError, UnsupportedOperatorError

Array = np.ndarray[Any, Any]
Row = tuple[float, ...]
"""label, score, left, top, right, bottom"""

CLASSES, BOXES = 3, 2


def model_of(
    op: str, feeds: Mapping[str, Array], constants: Mapping[str, Array], outputs: Sequence[str], **attributes: Any
) -> onnx.ModelProto:
    """A model of one node of our own, whose inputs are the constants, then the feeds, of any batch."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(a.dtype) for name, a in feeds.items()}
    inputs = [helper.make_tensor_value_info(n, kinds[n], ["N", *a.shape[1:]]) for n, a in feeds.items()]
    node = helper.make_node(op, [*constants, *feeds], list(outputs), domain="magicmind", name="end", **attributes)
    graph = helper.make_graph(
        [node], "g", inputs, [onnx.ValueInfoProto(name=name) for name in outputs],
        [onnx.numpy_helper.from_array(a, name) for name, a in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("magicmind", 1)])


def run(op: str, feeds: Mapping[str, Array], constants: Mapping[str, Array], count: int, **attributes: Any) -> Any:
    outputs = ["a", "b"][:count]
    with magicmind.build(magicmind.parse(model_of(op, feeds, constants, outputs, **attributes))) as model:
        found = model.session(threads=1).run(dict(feeds))
    return [found[name] for name in outputs]


def iou(a: Sequence[float], b: Sequence[float], border: float = 0.0) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + border
    height = min(a[3], b[3]) - max(a[1], b[1]) + border
    if width <= 0 or height <= 0:
        return 0.0
    first, second = ((box[2] - box[0] + border) * (box[3] - box[1] + border) for box in (a, b))
    return float(width * height / (first + second - width * height))


def diou(a: Sequence[float], b: Sequence[float], power: float) -> float:
    x, y = ((a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1))
    w, h = (max(a[i + 2], b[i + 2]) - min(a[i], b[i]) for i in (0, 1))
    return float(iou(a, b) - ((x * x + y * y) / (w * w + h * h)) ** power)


def best_rows(
    rows: Sequence[Row], threshold: float, limit: int, overlap: Callable[..., float] = iou, **settings: float
) -> list[Row]:
    """Greedy suppression within each class over all rows, then the `limit` best."""
    kept: list[Row] = []
    for row in sorted(rows, key=lambda r: (-r[1], r[0])):  # stable: ties stay in the order of the boxes
        if all(row[0] != k[0] or overlap(row[2:], k[2:], **settings) <= threshold for k in kept):
            kept.append(row)
    return kept[:limit]


def check_tables(found: Sequence[Array], expected: Sequence[Sequence[Row]], limit: int) -> None:
    tables, counts = found
    assert tables.dtype == np.float32 and tables.shape == (len(expected), limit, 7)
    assert counts.dtype == np.int32 and counts.tolist() == [len(rows) for rows in expected]
    for image, rows in enumerate(expected):
        table = np.array([(image, *row) for row in rows], np.float64).reshape(-1, 7)
        np.testing.assert_allclose(tables[image, : len(rows)], table, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------- YOLO

SHAPE = (64, 96)  # height, width
ANCHORS = np.array([[8, 10, 20, 14], [30, 25, 40, 60]], np.float32)
SETTINGS: dict[str, Any] = {
    "confidence_thresh": 0.3, "nms_thresh": 0.45, "num_class": CLASSES, "num_anchor": BOXES, "num_box_limit": 40,
    "image_shape": SHAPE, "num_coord": 4, "num_entry": 5, "scale": 1.0, "layout": ["NONE", "NONE"],
}  # fmt: skip


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def yolo_maps(algo: str, batch: int, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shapes = ((batch, 4, 6, BOXES * (5 + CLASSES)), (batch, 2, 3, BOXES * (5 + CLASSES)))
    maps = [rng.standard_normal(shape) for shape in shapes]
    if algo == "YOLOV5":
        maps = [1 / (1 + np.exp(-x)) for x in maps]
    return {f"m{i}": x.astype(np.float32) for i, x in enumerate(maps)}


def decoded(algo: str, v: Array, anchor: Array, cell: tuple[int, int], grid: tuple[int, int], spread: float) -> Row:
    """The corners of one box of a map."""
    (i, j), (rows, columns), (height, width) = cell, grid, SHAPE
    if algo == "YOLOV5":
        x, y = (2 * v[0] - 0.5 + j) * width / columns, (2 * v[1] - 0.5 + i) * height / rows
        w, h = (2 * v[2]) ** 2 * anchor[0], (2 * v[3]) ** 2 * anchor[1]
    else:
        x = (logistic(v[0]) * spread - (spread - 1) / 2 + j) / columns
        y = (logistic(v[1]) * spread - (spread - 1) / 2 + i) / rows
        w, h = (math.exp(v[2]) * anchor[0], math.exp(v[3]) * anchor[1])
        w, h = (w / columns, h / rows) if algo == "YOLOV2" else (w / width, h / height)
    return (x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def class_scores(algo: str, v: Array) -> list[float]:
    """Objectness times probability of each class."""
    if algo == "YOLOV5":
        return [float(v[4] * c) for c in v[5:]]
    if algo == "YOLOV2":
        powers = [math.exp(c) for c in v[5:]]
        return [logistic(v[4]) * p / sum(powers) for p in powers]
    return [logistic(v[4]) * logistic(c) for c in v[5:]]


def yolo_rows(algo: str, maps: Mapping[str, Array], image: int, spreads: Sequence[float] = (1.0, 1.0)) -> list[Row]:
    rows: list[Row] = []
    for x, anchors, spread in zip(maps.values(), ANCHORS.reshape(2, BOXES, 2), spreads, strict=True):
        for i, j, a in np.ndindex(*x.shape[1:3], BOXES):
            v = x[image, i, j].reshape(BOXES, -1)[a].astype(np.float64)
            corners = decoded(algo, v, anchors[a], (i, j), x.shape[1:3], spread)
            rows += [
                (label, score, *corners)
                for label, score in enumerate(class_scores(algo, v))
                if score > SETTINGS["confidence_thresh"]
            ]
    return rows


@pytest.mark.parametrize("algo", ["YOLOV2", "YOLOV3", "YOLOV4", "YOLOV5"])
@pytest.mark.parametrize("limit", [40, 3])
def test_yolo(algo: str, limit: int) -> None:
    maps = yolo_maps(algo, 2)
    spreads = (1.2, 1.05) if algo == "YOLOV4" else (1.0, 1.0)
    extra = {"aspect_ratios": spreads} if algo == "YOLOV4" else {}
    found = run(
        "DetectionOutput", maps, {"bias": ANCHORS}, 2, **{**SETTINGS, "algo": algo, "num_box_limit": limit}, **extra
    )
    expected = [best_rows(yolo_rows(algo, maps, n, spreads), 0.45, limit) for n in range(2)]
    assert len(yolo_rows(algo, maps, 0)) > len(expected[0]) > 2
    check_tables(found, expected, limit)


@pytest.mark.parametrize("power", [0.6, 1.0])
def test_yolo_with_distance_in_the_overlap(power: float) -> None:
    maps = yolo_maps("YOLOV4", 1, seed=3)
    settings = {**SETTINGS, "nms_thresh": 0.15, "num_box_limit": 90, "nms_type": "DIOU_NMS", "diou_power_exp": power}
    found = run("DetectionOutput", maps, {"bias": ANCHORS}, 2, **settings, algo="YOLOV4")
    rows = yolo_rows("YOLOV4", maps, 0)
    expected = best_rows(rows, 0.15, 90, diou, power=power)
    assert len(expected) > len(best_rows(rows, 0.15, 90))
    check_tables(found, [expected], 90)


def test_yolo_that_finds_nothing_and_ties() -> None:
    maps = {name: np.full_like(x, -9) for name, x in yolo_maps("YOLOV3", 3).items()}
    maps["m0"][1, 0, 0] = maps["m0"][1, 2, 4] = np.tile([0, 0, 0, 0, 4, 4, 4, -9], BOXES)  # equal scores
    found = run("DetectionOutput", maps, {"bias": ANCHORS}, 2, **SETTINGS, algo="YOLOV3")
    rows = best_rows(yolo_rows("YOLOV3", maps, 1), 0.45, 40)
    assert len({row[1] for row in rows}) == 1 and [row[0] for row in rows] == [0] * 4 + [1] * 4
    check_tables(found, [[], rows, []], 40)
    assert not found[0][0].any(), "rows beyond the count are zeros"


def test_the_batch_may_be_mutable() -> None:
    proto = model_of(
        "DetectionOutput", yolo_maps("YOLOV5", 1), {"bias": ANCHORS}, ["a", "b"], **SETTINGS, algo="YOLOV5"
    )
    with magicmind.build(magicmind.parse(proto), shapes={"m0": ("N=1..8", 4, 6, 16), "m1": ("N", 2, 3, 16)}) as model:
        assert model.outputs[0].shape == ((1, 8), 40, 7)
        session = model.session(threads=1)
        for batch in (2, 5, 1):
            maps = yolo_maps("YOLOV5", batch, seed=batch)
            found = session.run(maps)
            expected = [best_rows(yolo_rows("YOLOV5", maps, n), 0.45, 40) for n in range(batch)]
            check_tables([found["a"], found["b"]], expected, 40)


WRONG: list[tuple[dict[str, Any], type[Error], str]] = [
    ({"algo": "YOLOV9"}, UnsupportedOperatorError, "YOLOV9.*REFINEDET"),
    ({"num_coord": 5}, UnsupportedOperatorError, "num_coord is 5"),
    ({"scale": 2.0}, UnsupportedOperatorError, "scale is 2.0"),
    ({"layout": ["NCHW", "NONE"]}, UnsupportedOperatorError, "NHWC"),
    ({"nms_type": "GIOU"}, UnsupportedOperatorError, "nms_type is 'GIOU'"),
    ({"algo": "YOLOV5", "aspect_ratios": [1.2]}, UnsupportedOperatorError, "aspect_ratios have no meaning"),
    ({"num_class": 5}, ShapeError, r"is not \[N, H, W, 2 \* \(5 \+ 5\)\]"),
    ({"aspect_ratios": [1.0, 1.0, 1.0]}, ShapeError, "3 aspect_ratios for 2 maps"),
    ({"image_shape": None}, ModelFormatError, "image_shape .*is not set"),
    ({"num_box_limit": None}, ModelFormatError, "num_box_limit .*is not set"),
]


@pytest.mark.parametrize("changes, kind, text", WRONG, ids=[str(w[0]) for w in WRONG])
def test_what_does_not_fit_is_said(changes: dict[str, Any], kind: type[Error], text: str) -> None:
    settings = {k: v for k, v in {**SETTINGS, "algo": "YOLOV3", **changes}.items() if v is not None}
    proto = model_of("DetectionOutput", yolo_maps("YOLOV3", 1), {"bias": ANCHORS}, ["a", "b"], **settings)
    with pytest.raises(kind, match=text):
        magicmind.parse(proto)


# -------------------------------------------------------------------------------------------- SSD, RefineDet and R-CNN


def corners(rng: np.random.Generator, count: int) -> Array:
    low, size = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.1, 0.4, (count, 2))
    return np.concatenate([low, low + size], axis=1)


def from_prior(prior: Array, change: Array) -> Array:
    """Of one box: centre and size, as SSD codes them with variances 0.1 and 0.2."""
    size = prior[2:] - prior[:2]
    centre = (prior[:2] + prior[2:]) / 2 + change[:2] * 0.1 * size
    half = np.exp(change[2:] * 0.2) * size / 2
    return np.concatenate([centre - half, centre + half])


@pytest.mark.parametrize("algo", ["SSD", "REFINEDET"])
@pytest.mark.parametrize("limit", [30, 4])
def test_ssd_and_refinedet(algo: str, limit: int) -> None:
    rng, count = np.random.default_rng(7), 24
    boxes = corners(rng, count)
    priors = np.stack([boxes.reshape(-1), np.tile([0.1, 0.1, 0.2, 0.2], count)])[None].astype(np.float32)
    feeds = {
        "loc": rng.standard_normal((2, count * 4)),
        "conf": rng.dirichlet(np.ones(CLASSES), (2, count)).reshape(2, -1),
        "arm_conf": rng.dirichlet([30, 1], (2, count)).reshape(2, -1),
        "arm_loc": rng.standard_normal((2, count * 4)),
    }
    feeds = {k: v.astype(np.float32) for k, v in feeds.items() if algo == "REFINEDET" or "arm" not in k}
    found = run(
        "DetectionOutput", feeds, {"priors": priors}, 2, algo=algo, num_class=CLASSES, num_box_limit=limit,
        confidence_thresh=0.2, nms_thresh=0.3, objectness=0.02,
    )  # fmt: skip
    expected = []
    for image in range(2):
        rows: list[Row] = []
        for p in range(count):
            prior = boxes[p]
            if algo == "REFINEDET":
                prior = from_prior(prior, feeds["arm_loc"][image, 4 * p : 4 * p + 4].astype(np.float64))
                if feeds["arm_conf"][image, 2 * p + 1] < np.float32(0.02):
                    continue
            box = from_prior(prior, feeds["loc"][image, 4 * p : 4 * p + 4].astype(np.float64))
            scores = feeds["conf"][image, CLASSES * p : CLASSES * (p + 1)]
            rows += [(k, float(scores[k]), *box) for k in range(1, CLASSES) if scores[k] > np.float32(0.2)]
        expected.append(best_rows(rows, 0.3, limit))
        assert len(rows) > len(expected[image]) > 3
    check_tables(found, expected, limit)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("sizes", [None, np.array([[80, 100], [60, 90]], np.float32)])
def test_faster_rcnn(agnostic: bool, sizes: Array | None) -> None:
    rng, count = np.random.default_rng(11), 40
    images = rng.integers(0, 1 if sizes is None else 2, (count, 1))
    regions = np.concatenate([images, corners(rng, count) * 80], axis=1).astype(np.float32)
    feeds = {
        "scores": rng.dirichlet(np.ones(CLASSES), count).astype(np.float32),
        "changes": (rng.standard_normal((count, 8 if agnostic else 4 * CLASSES)) * 0.3).astype(np.float32),
    }
    constants = {"regions": regions}
    settings = {"algo": "FASTERRCNN", "num_class": CLASSES, "num_box_limit": 25}
    settings |= {"confidence_thresh": 0.1, "nms_thresh": 0.3, "image_shape": (70, 95)}
    proto = model_of("DetectionOutput", feeds, constants, ["a", "b"], **settings)
    for info in proto.graph.input:
        info.type.tensor_type.shape.dim[0].Clear()
        info.type.tensor_type.shape.dim[0].dim_value = count
    if sizes is not None:
        proto.graph.initializer.append(onnx.numpy_helper.from_array(sizes, "sizes"))
        proto.graph.node[0].input.append("sizes")
    with magicmind.build(magicmind.parse(proto)) as model:
        outputs = model.session(threads=1).run(feeds)
    expected = []
    for image, (height, width) in enumerate([(70, 95)] if sizes is None else sizes):
        rows: list[Row] = []
        for r, label in np.ndindex(count, CLASSES):
            score = feeds["scores"][r, label]
            if label == 0 or regions[r, 0] != image or score <= np.float32(0.1):
                continue
            x0, y0, x1, y1 = regions[r, 1:].astype(np.float64)
            first = 4 if agnostic else 4 * label
            dx, dy, dw, dh = feeds["changes"][r, first : first + 4].astype(np.float64)
            w, h = x1 - x0 + 1, y1 - y0 + 1
            x, y = x0 + w / 2 + dx * w, y0 + h / 2 + dy * h
            w, h = w * math.exp(dw) / 2, h * math.exp(dh) / 2
            box = np.clip([x - w, y - h, x + w, y + h], 0, [width - 1, height - 1, width - 1, height - 1])
            rows.append((label, float(score), *box))
        expected.append(best_rows(rows, 0.3, 25, border=1.0))
        assert len(rows) > len(expected[image]) > 2
    check_tables([outputs["a"], outputs["b"]], expected, 25)


def test_faster_rcnn_needs_to_know_the_image() -> None:
    feeds = {"scores": np.zeros((4, CLASSES), np.float32), "changes": np.zeros((4, 4 * CLASSES), np.float32)}
    settings = {"algo": "FASTERRCNN", "num_class": CLASSES, "num_box_limit": 5, "confidence_thresh": 0.1}
    proto = model_of(
        "DetectionOutput", feeds, {"r": np.zeros((4, 5), np.float32)}, ["a", "b"], **settings, nms_thresh=0.3
    )
    with pytest.raises(ModelFormatError, match="image_shape"):
        magicmind.parse(proto)
