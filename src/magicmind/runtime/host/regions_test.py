"""Proposals and pooling of regions against loops, written down from the public implementations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import magicmind
from magicmind.frontends.caffe.layers.layers_test import run_layer
from magicmind.runtime.host.detection_test import iou, model_of, run

Array = np.ndarray[Any, Any]

ANCHORS = np.array([[-8, -8, 23, 23], [-20, -4, 35, 19], [0, 0, 15, 15]], np.float32)


def proposals(feeds: dict[str, Array], image: int, before: int, after: int, threshold: float) -> list[list[float]]:
    """score and corners of one image, by the loops of py-faster-rcnn."""
    height, width, zoom = feeds["image"][image if len(feeds["image"]) > 1 else 0]
    found = []
    for i, j, a in np.ndindex(*feeds["scores"].shape[2:], len(ANCHORS)):
        x0, y0, x1, y1 = ANCHORS[a].astype(np.float64) + 16 * np.array([j, i, j, i])
        dx, dy, dw, dh = feeds["changes"][image, 4 * a : 4 * a + 4, i, j].astype(np.float64)
        w, h = x1 - x0 + 1, y1 - y0 + 1
        x, y = x0 + w / 2 + dx * w, y0 + h / 2 + dy * h
        w, h = w * math.exp(dw) / 2, h * math.exp(dh) / 2
        box = np.clip([x - w, y - h, x + w, y + h], 0, [width - 1, height - 1, width - 1, height - 1])
        if min(box[2] - box[0], box[3] - box[1]) + 1 >= 10 * zoom:
            found.append([float(feeds["scores"][image, len(ANCHORS) + a, i, j]), *box])
    kept: list[list[float]] = []
    for row in sorted(found, key=lambda r: -r[0])[:before]:
        if all(iou(row[1:], k[1:], 1.0) <= threshold for k in kept):
            kept.append(row)
    return kept[:after]


@pytest.mark.parametrize("sizes", [[[64, 80, 1]], [[64, 80, 1], [50, 60, 1.2]], [[64, 80, 100], [64, 80, 1]]])
@pytest.mark.parametrize("after", [50, 5])
def test_proposals_of_several_images(sizes: list[list[float]], after: int) -> None:
    rng = np.random.default_rng(2)
    feeds = {
        "scores": rng.random((2, 6, 4, 5)).astype(np.float32),
        "changes": (rng.standard_normal((2, 12, 4, 5)) * 0.3).astype(np.float32),
    }
    settings = {"stride": 16, "min_size": 10.0, "nms_before": 40, "nms_after": after, "nms_threshold": 0.6}
    constants = {"image": np.array(sizes, np.float32)}
    proto = model_of(
        "Proposal", feeds, constants, ["regions", "likely"], **settings, anchors=ANCHORS.reshape(-1).tolist()
    )
    proto.graph.node[0].input[:] = ["scores", "changes", "image"]
    with magicmind.build(magicmind.parse(proto)) as model:
        found = model.session(threads=1).run(feeds)
    rows = [
        [image, *row] for image in range(2) for row in proposals({**feeds, **constants}, image, 40, after, 0.6)
    ]  # of an image whose boxes are all too small there are none
    assert len(rows) > 4
    table = np.array(rows)
    np.testing.assert_allclose(found["regions"], table[:, [0, 2, 3, 4, 5]], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["likely"][:, 0], table[:, 1], rtol=1e-6)


def random_regions(rng: np.random.Generator, images: int, extent: float) -> Array:
    """Some reach beyond the map, one lies outside of it, one is a point, one is turned over."""
    low = rng.uniform(-0.1, 0.8, (12, 2)) * extent
    boxes: Array = np.concatenate([low, low + rng.uniform(0, 0.6, (12, 2)) * extent], axis=1)
    odd = np.array([[2, 2, 1.5, 1.5], [3, 3, 2, 2], [0.25, 0.25, 0.75, 0.75], [0.5, 0.5, 0.5, 0.5]]) * extent
    boxes = np.concatenate([boxes, odd])
    return np.concatenate([rng.integers(0, images, (len(boxes), 1)), boxes], axis=1).astype(np.float32)


def rounded(x: float) -> float:
    """As C rounds."""
    return math.copysign(math.floor(abs(x) + 0.5), x)


def within(x: int, limit: int) -> int:
    return min(max(x, 0), limit)


def test_roi_pooling() -> None:
    rng = np.random.default_rng(4)
    x, rois = rng.standard_normal((2, 3, 9, 11)).astype(np.float32), random_regions(rng, 2, 40)
    params = "roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.25 }"
    (found,) = run_layer("ROIPooling", params, {"x": x, "rois": rois})
    expected = np.zeros((len(rois), 3, 3, 2), np.float32)
    for r, (image, *corners) in enumerate(rois):
        x0, y0, x1, y1 = (int(rounded(c * 0.25)) for c in corners)
        height, width = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i, j in np.ndindex(3, 2):
            top, bottom = (within(v + y0, 9) for v in (math.floor(i * height / 3), math.ceil((i + 1) * height / 3)))
            left, right = (within(v + x0, 11) for v in (math.floor(j * width / 2), math.ceil((j + 1) * width / 2)))
            if bottom > top and right > left:
                expected[r, :, i, j] = x[int(image), :, top:bottom, left:right].max((1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_ps_roi_pooling() -> None:
    rng = np.random.default_rng(6)
    x, rois = rng.standard_normal((2, 18, 9, 11)).astype(np.float32), random_regions(rng, 2, 40)
    params = "psroi_pooling_param { spatial_scale: 0.25 output_dim: 2 group_size: 3 }"
    (found,) = run_layer("PSROIPooling", params, {"x": x, "rois": rois})
    expected = np.zeros((len(rois), 2, 3, 3), np.float32)
    for r, (image, *corners) in enumerate(rois):
        x0, y0 = (rounded(c) * 0.25 for c in corners[:2])
        x1, y1 = ((rounded(c) + 1) * 0.25 for c in corners[2:])
        height, width = max(y1 - y0, 0.1) / 3, max(x1 - x0, 0.1) / 3
        for d, i, j in np.ndindex(2, 3, 3):
            top, bottom = within(math.floor(i * height + y0), 9), within(math.ceil((i + 1) * height + y0), 9)
            left, right = within(math.floor(j * width + x0), 11), within(math.ceil((j + 1) * width + x0), 11)
            if bottom > top and right > left:
                expected[r, d, i, j] = x[int(image), (d * 3 + i) * 3 + j, top:bottom, left:right].mean()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def suppressed(boxes: Array, scores: Array, limit: int, threshold: float, least: float) -> list[int]:
    """TensorFlow's NonMaxSuppressionV3 of boxes that are two corners in any order."""
    ordered = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] > least and all(iou(ordered[i], ordered[j]) <= threshold for j in kept):
            kept.append(int(i))
    return kept[:limit]


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("centre", [0, 1])
@pytest.mark.parametrize("limit, least", [(30, 0.2), (4, 0.2), (30, 2.0)])
def test_non_max_suppression_of_one_image(layout: int, centre: int, limit: int, least: float) -> None:
    rng = np.random.default_rng(8)
    boxes, scores = rng.random((40, 4)).astype(np.float32), rng.random(40).astype(np.float32)
    scores[:6] = scores[7]  # ties
    given: Array = np.concatenate([boxes[:, :2] + boxes[:, 2:], 2 * np.abs(boxes[:, 2:] - boxes[:, :2])], 1) / 2
    given = given if centre else boxes
    constants: dict[str, Array] = {
        "boxes": np.ascontiguousarray(given.T if layout else given), "scores": scores,
        "limit": np.array(limit), "overlap": np.array([0.3], np.float32), "least": np.array([least], np.float32),
    }  # fmt: skip
    settings = {"input_layout": layout, "boxes_coordinate_format": centre}
    expected = suppressed(boxes, scores, limit, 0.3, least)
    found, count = run("NonMaxSuppression", {}, constants, 2, **settings)
    assert found.dtype == count.dtype == np.int32 and found.tolist() == expected and count == len(expected)
    found, count = run("NonMaxSuppression", {}, constants, 2, **settings, pad_to_max_output_size=1)
    assert found.tolist() == expected + [0] * (limit - len(expected)) and count == len(expected)


def test_non_max_suppression_of_several_classes() -> None:
    rng = np.random.default_rng(9)
    boxes, scores = rng.random((2, 20, 4)).astype(np.float32), rng.random((2, 3, 20)).astype(np.float32)
    limits = {"limit": np.array([5]), "overlap": np.array([0.3], np.float32), "least": np.array([0.4], np.float32)}
    found, count = run("NonMaxSuppression", {}, {"boxes": boxes, "scores": scores, **limits}, 2)
    expected = [
        [n, k, i]
        for n, k in np.ndindex(2, 3)
        for i in suppressed(boxes[n], scores[n, k], 5, 0.3, float(np.float32(0.4)))
    ]
    assert found.tolist() == expected and count == len(expected) > 10
