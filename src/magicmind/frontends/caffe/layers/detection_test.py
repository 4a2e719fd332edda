"""Ends of detectors: against OpenCV where it has them, else against loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import magicmind
from magicmind.frontends.caffe.layers.layers_test import (
    Array,
    close,
    layer_text,
    net_text,
    random_feeds,
    run,
    run_layer,
    run_opencv,
)
from magicmind.testing.caffe import RandomWeights, random_network

RNG = np.random.default_rng(5)


def iou(a: Array, b: Array, border: float = 0.0) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + border
    height = min(a[3], b[3]) - max(a[1], b[1]) + border
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + border) * (box[3] - box[1] + border) for box in (a, b)]
    return float(width * height / (sum(areas) - width * height))


def kept(boxes: Array, scores: Array, threshold: float, border: float = 0.0) -> list[int]:
    found: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(iou(boxes[i], boxes[j], border) <= threshold for j in found):
            found.append(int(i))
    return found


def ssd_feeds(count: int, classes: int, batch: int, *, shared: bool = True) -> dict[str, Array]:
    corner, size = RNG.uniform(0, 0.6, (count, 2)), RNG.uniform(0.1, 0.4, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    priors = np.stack([boxes.reshape(-1), np.tile([0.1, 0.1, 0.2, 0.2], count)])[None]
    scores = RNG.dirichlet(np.ones(classes), (batch, count)).reshape(batch, -1)
    loc = RNG.standard_normal((batch, count * 4 * (1 if shared else classes)))
    return {k: v.astype(np.float32) for k, v in {"loc": loc, "conf": scores, "priors": priors}.items()}


@pytest.mark.parametrize("code", ["CENTER_SIZE", "CORNER"])
@pytest.mark.parametrize("shared", ["true", "false"])
def test_detection_output_as_opencv(code: str, shared: str) -> None:
    feeds = ssd_feeds(30, 4, 2, shared=shared == "true")
    params = (
        f"detection_output_param {{ num_classes: 4 share_location: {shared} background_label_id: 0 code_type: {code} "
        "nms_param { nms_threshold: 0.4 top_k: 20 } keep_top_k: 15 confidence_threshold: 0.2 }"
    )
    text = net_text(layer_text("DetectionOutput", params, list(feeds)), {name: a.shape for name, a in feeds.items()})
    found = run(text, feeds)["y"]
    expected = run_opencv(text, feeds, RandomWeights())[0, 0]
    assert len(found) > 10

    def by_score(rows: Array) -> Array:
        return rows[np.lexsort((-rows[:, 2], rows[:, 0]))]

    close(by_score(found), by_score(expected))
    keys = [(row[0], row[1], -row[2]) for row in found]
    assert keys == sorted(keys), "by image, label, and falling score, as Caffe has them"


def test_a_saved_graph_keeps_our_operators(tmp_path: Path) -> None:
    feeds = ssd_feeds(20, 3, 1)
    text = net_text(
        layer_text("DetectionOutput", "detection_output_param { num_classes: 3 }", list(feeds)),
        {name: a.shape for name, a in feeds.items()},
    )
    graph, _ = random_network(text)
    graph.save(tmp_path / "ssd.onnx")
    with magicmind.build(magicmind.parse(tmp_path / "ssd.onnx")) as model:
        found = model.session(threads=1).run(feeds)["y"]
    close(found, run(text, feeds)["y"])


def test_detection_output_of_nothing_has_no_rows() -> None:
    feeds = ssd_feeds(5, 3, 1)
    params = "detection_output_param { num_classes: 3 confidence_threshold: 2 }"
    (found,) = run_layer("DetectionOutput", params, feeds)
    assert found.shape == (0, 7)


def test_refinedet_refines_priors_and_dismisses_background() -> None:
    feeds = ssd_feeds(6, 3, 1)
    feeds["arm_conf"] = np.array([[0.9, 0.1, 0.999, 0.001] + [0.5, 0.5] * 4], np.float32)
    feeds["arm_loc"] = RNG.standard_normal((1, 24)).astype(np.float32)
    params = (
        "detection_output_param { num_classes: 3 code_type: CENTER_SIZE nms_param { nms_threshold: 1.0 } "
        "confidence_threshold: 0.0001 objectness_score: 0.01 }"
    )
    (found,) = run_layer("DetectionOutput", params, feeds)
    assert len(found) == 2 * 5  # two classes, one prior dismissed
    priors = feeds["priors"][0, 0].reshape(-1, 4)
    refined = decode(feeds["loc"].reshape(-1, 4), decode(feeds["arm_loc"].reshape(-1, 4), priors))
    best = feeds["conf"].reshape(6, 3)[[0, 2, 3, 4, 5], 1].argmax()
    place = [0, 2, 3, 4, 5][int(best)]
    close(found[0, 3:], refined[place].astype(np.float32))


def decode(changes: Array, priors: Array) -> Array:
    size = priors[:, 2:] - priors[:, :2]
    centre = (priors[:, :2] + priors[:, 2:]) / 2 + changes[:, :2] * 0.1 * size
    half = np.exp(changes[:, 2:] * 0.2) * size / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def test_yolov3_output_decodes_every_map() -> None:
    classes, anchors = 3, [10, 13, 33, 23, 30, 61, 59, 119]
    feeds = random_feeds({"a": (1, 2 * (5 + classes), 3, 3), "b": (1, 2 * (5 + classes), 6, 6)})
    params = (
        f"yolov3_detection_output_param {{ num_classes: {classes} nms_threshold: 0.45 confidence_threshold: 0.5 "
        + "".join(f"biases: {a} " for a in anchors)
        + "mask: 2 mask: 3 mask: 0 mask: 1 mask_group_num: 2 anchors_scale: 32 anchors_scale: 16 }"
    )
    (found,) = run_layer("Yolov3DetectionOutput", params, feeds)
    rows = []
    for x, masks, stride in ((feeds["a"], (2, 3), 32), (feeds["b"], (0, 1), 16)):
        side = x.shape[2]
        for n, mask in enumerate(masks):
            for i, j in np.ndindex(side, side):
                v = x[0, n * 8 : n * 8 + 8, i, j].astype(np.float64)
                cx, cy = (j + 1 / (1 + math.exp(-v[0]))) / side, (i + 1 / (1 + math.exp(-v[1]))) / side
                w = math.exp(v[2]) * anchors[2 * mask] / (side * stride) / 2
                h = math.exp(v[3]) * anchors[2 * mask + 1] / (side * stride) / 2
                for label in range(classes):
                    score = 1 / (1 + math.exp(-v[4])) / (1 + math.exp(-v[5 + label]))
                    if score > 0.5:
                        rows.append([0, label + 1, score, cx - w, cy - h, cx + w, cy + h])
    table = np.array(rows, np.float32)
    expected = table[kept(table[:, 3:], table[:, 2], 0.45)]
    assert 3 < len(expected) < len(table)
    close(found, expected)


def test_yolov2_output_takes_the_best_class() -> None:
    feeds = random_feeds({"x": (2, 2 * 7, 3, 3)})
    params = (
        "yolo_detection_output_param { num_classes: 2 num_box: 2 nms_threshold: 0.9999 confidence_threshold: 0.0001 "
        "biases: 1 biases: 2 biases: 3 biases: 1 }"
    )
    (found,) = run_layer("YoloDetectionOutput", params, feeds)
    assert [int((found[:, 0] == image).sum()) for image in range(2)] == [18, 18]
    likely = np.exp(feeds["x"].reshape(2, 2, 7, 9)[:, :, 5:])
    likely = likely / likely.sum(2, keepdims=True) / (1 + np.exp(-feeds["x"].reshape(2, 2, 7, 9)[:, :, 4:5]))
    close(np.sort(found[:18, 2]), np.sort(likely[0].max(1).reshape(-1)))


def test_region_activates_in_place() -> None:
    feeds = random_feeds({"x": (1, 2 * 8, 2, 2)})
    (found,) = run_layer("Region", "region_param { classes: 3 coords: 4 num: 2 softmax: true }", feeds)
    x, y = (a.reshape(2, 8, 2, 2) for a in (feeds["x"], found))
    close(y[:, [0, 1, 4]], 1 / (1 + np.exp(-x[:, [0, 1, 4]])))
    close(y[:, 2:4], x[:, 2:4])
    close(y[:, 5:], np.exp(x[:, 5:]) / np.exp(x[:, 5:]).sum(1, keepdims=True))


def test_roi_pooling_takes_maxima() -> None:
    feeds = random_feeds({"x": (2, 3, 8, 8)}) | {"rois": np.array([[1, 0, 0, 6, 6], [0, 4, 2, 15, 9]], np.float32)}
    params = "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 }"
    (found,) = run_layer("ROIPooling", params, feeds)
    close(found[0], feeds["x"][1, :, :4, :4].reshape(3, 2, 2, 2, 2).max((2, 4)))
    close(found[1, :, 1, 1], feeds["x"][0, :, 3:6, 5:8].max((1, 2)))


def test_psroi_pooling_takes_means_of_its_own_channels() -> None:
    feeds = random_feeds({"x": (1, 8, 8, 8)}) | {"rois": np.array([[0, 0, 0, 7, 7]], np.float32)}
    params = "psroi_pooling_param { spatial_scale: 0.5 output_dim: 2 group_size: 2 }"
    (found,) = run_layer("PSROIPooling", params, feeds)
    part = feeds["x"].reshape(2, 2, 2, 8, 8)[..., :4, :4].reshape(2, 2, 2, 2, 2, 2, 2).mean((4, 6))
    close(found[0], np.stack([[[part[d, i, j, i, j] for j in range(2)] for i in range(2)] for d in range(2)]))


@pytest.mark.parametrize("python", [False, True])
def test_proposals(python: bool) -> None:
    """Nine anchors at every cell, by the loop of the paper's implementation."""
    feeds = random_feeds({"scores": (1, 18, 5, 6), "changes": (1, 36, 5, 6)})
    feeds["changes"] *= 0.3
    feeds["image"] = np.array([[80, 96, 1]], np.float32)
    kind, params = "Proposal", "proposal_param { post_nms_topn: 20 }"
    if python:
        kind, params = "Python", "python_param { layer: 'ProposalLayer' param_str: \"'feat_stride': 16\" }"
    (found,) = run_layer(kind, params, feeds)
    boxes, scores = [], []
    for i, j, a in np.ndindex(5, 6, 9):
        ratio, scale = (0.5, 1, 2)[a // 3], (8, 16, 32)[a % 3]
        width = np.round(np.sqrt(256 / ratio))
        height = np.round(width * ratio) * scale
        width = width * scale
        d = feeds["changes"][0, 4 * a : 4 * a + 4, i, j].astype(np.float64)
        # corners are pixels inside, so a centre lies half a pixel behind the middle
        cx, cy = 7.5 + 16 * j + 0.5 + d[0] * width, 7.5 + 16 * i + 0.5 + d[1] * height
        w, h = np.exp(d[2]) * width / 2, np.exp(d[3]) * height / 2
        box = np.array([cx - w, cy - h, cx + w, cy + h]).clip(0, [95, 79, 95, 79])
        if (box[2:] - box[:2] + 1 >= 16).all():
            boxes.append(box)
            scores.append(feeds["scores"][0, 9 + a, i, j])
    picked = kept(np.array(boxes), np.array(scores), 0.7, border=1.0)[: 300 if python else 20]
    close(found[:, 1:], np.array(boxes)[picked].astype(np.float32))
    assert not found[:, 0].any()
