"""The ends of detectors: boxes from what networks predict, suppression of doubles, pooling of regions.

Boxes are [..., 4] corners (left, top, right, bottom). `ops/detection.py` says what the operators take and give.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from magicmind.runtime.host import Array, HostCall, host


def suppress(boxes: Array, order: Array, threshold: float, *, eta: float = 1.0, border: float = 0.0) -> list[int]:
    """The indices in `order` (best first) that overlap no better one by more than `threshold`.

    `eta` below 1 lowers thresholds above 0.5 with every box kept; `border` 1 counts corners as pixels inside.
    """
    kept: list[int] = []
    corners = boxes[order].astype(np.float32)
    sizes = np.maximum(corners[:, 2:] - corners[:, :2] + border, 0)
    areas = sizes[:, 0] * sizes[:, 1]
    worst = np.zeros(len(order), np.float32)  # overlap with what is kept so far
    for i in range(len(order)):
        if worst[i] > threshold:
            continue
        kept.append(int(order[i]))
        inner = np.minimum(corners[i, 2:], corners[i + 1 :, 2:]) - np.maximum(corners[i, :2], corners[i + 1 :, :2])
        shared = np.maximum(inner + border, 0).prod(axis=1)
        union = areas[i] + areas[i + 1 :] - shared
        overlap = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        np.maximum(worst[i + 1 :], overlap, out=worst[i + 1 :])
        threshold *= eta if eta < 1 and threshold > 0.5 else 1
    return kept


# ----------------------------------------------------------------------------------------------------------------- SSD


@host("magicmind.SsdDetectionOutput")
def ssd_detection_output(call: HostCall) -> Sequence[Any]:
    """Decoded, suppressed within each class, cut to the best `keep_top_k`; by image and label, best first."""
    boxes, scores, priors = call.inputs[:3]
    classes, background = call.attr("num_classes"), call.attr("background", 0)
    count = priors.shape[2] // 4
    corners, variances = priors.reshape(-1, 2, count, 4)[0]
    rows = []
    for image in range(len(boxes)):
        likely = scores[image].reshape(count, classes)
        base = corners
        if call.input(3) is not None:
            base = _decode(call, call.inputs[4][image].reshape(count, 1, 4), corners, variances)[:, 0]
            objects = call.inputs[3][image].reshape(count, -1)[:, 1] >= call.attr("objectness", 0.01)
            likely = np.where(objects[:, None], likely, 0)
        decoded = _decode(call, boxes[image].reshape(count, -1, 4), base, variances)
        rows += _best(call, image, decoded, likely, background)
    return [np.array(rows, np.float32).reshape(-1, 7)]


def _decode(call: HostCall, changes: Array, priors: Array, variances: Array) -> Array:
    """[P, locations, 4] corners from what the network predicts about each prior."""
    priors, variances = priors[:, None], variances[:, None]
    changes = changes if call.attr("variance_encoded", 0) else changes * variances
    kind = call.attr("code_type", "CORNER")
    if kind == "CORNER":
        return np.asarray(priors + changes)
    size = priors[..., 2:] - priors[..., :2]
    if kind == "CORNER_SIZE":
        return np.asarray(priors + changes * np.concatenate([size, size], axis=-1))
    centre = (priors[..., :2] + priors[..., 2:]) / 2 + changes[..., :2] * size
    half = np.exp(changes[..., 2:]) * size / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def _best(call: HostCall, image: int, boxes: Array, scores: Array, background: int) -> list[list[float]]:
    """The rows of one image."""
    found: list[tuple[int, float, int]] = []  # label, score, box
    for label in range(scores.shape[1]):
        if label == background:
            continue
        row = scores[:, label]
        candidates = np.nonzero(row > call.attr("confidence_threshold", 0.0))[0]
        order = candidates[np.argsort(-row[candidates], kind="stable")]
        order = order[: call.attr("nms_top_k", -1)] if call.attr("nms_top_k", -1) > -1 else order
        own = boxes[:, label if boxes.shape[1] > 1 else 0]
        kept = suppress(own, order, call.attr("nms_threshold", 0.3), eta=call.attr("nms_eta", 1.0))
        found += [(label, float(row[i]), i) for i in kept]
    limit = call.attr("keep_top_k", -1)
    if -1 < limit < len(found):
        found = sorted(sorted(found, key=lambda f: -f[1])[:limit], key=lambda f: f[0])
    corners = [boxes[i, label if boxes.shape[1] > 1 else 0] for label, _, i in found]
    return [[image, label, score, *box] for (label, score, _), box in zip(found, corners, strict=True)]


# ---------------------------------------------------------------------------------------------------------------- YOLO


@host("magicmind.YoloDetectionOutput")
def yolo_detection_output(call: HostCall) -> Sequence[Any]:
    """Raw maps decoded and suppressed over all classes together; by image, best first.  Labels count from 1."""
    classes, boxes = call.attr("num_classes"), call.attr("boxes")
    anchors = np.array(call.attr("anchors"), np.float32).reshape(len(call.inputs), boxes, 2)
    softmax, least = bool(call.attr("softmax", 0)), call.attr("confidence_threshold", 0.0)
    rows: list[Array] = []
    for image in range(len(call.inputs[0])):
        parts = [
            _decode_map(found[image].reshape(boxes, 5 + classes, *found.shape[2:]), anchors[i], scale, softmax=softmax)
            for i, (found, scale) in enumerate(zip(call.inputs, call.attr("scales"), strict=True))
        ]
        corners, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        place, label = np.nonzero((scores >= least) & (scores > 0) if softmax else scores > least)
        score = scores[place, label]
        order = np.argsort(-score, kind="stable")
        # Equality counts as an overlap there.
        kept = suppress(corners[place], order, np.nextafter(np.float32(call.attr("nms_threshold", 0.45)), 0))
        picked = np.array(kept, int)
        columns = [np.full(len(picked), image), label[picked] + 1, score[picked], *corners[place[picked]].T]
        rows.append(np.stack(columns, axis=1))
    return [np.concatenate(rows).astype(np.float32)]


def _decode_map(x: Array, anchors: Array, scale: int, *, softmax: bool) -> tuple[Array, Array]:
    """x [boxes, 5 + classes, H, W]: corners [boxes * H * W, 4] relative to the map, scores [boxes * H * W, classes].

    `scale` is the pixels of a cell in which the anchors are given; with a softmax a box has its best class only.
    """
    height, width = x.shape[2:]
    cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)))  # [2, H, W], x first
    extent = np.array([width, height], np.float32)[:, None, None]
    centre = (_sigmoid(x[:, :2]) + cells) / extent
    half = np.exp(x[:, 2:4]) * anchors[:, :, None, None] / (extent * scale) / 2
    corners = np.concatenate([centre - half, centre + half], axis=1).transpose(0, 2, 3, 1).reshape(-1, 4)
    labels = x[:, 5:].transpose(0, 2, 3, 1).reshape(len(corners), -1)
    sure = _sigmoid(x[:, 4]).reshape(-1, 1)
    if not softmax:
        return corners, sure * _sigmoid(labels)
    powers = np.exp(labels - labels.max(axis=1, keepdims=True))
    likely = powers / powers.sum(axis=1, keepdims=True)
    best = likely.argmax(axis=1)[:, None] == np.arange(likely.shape[1])
    return corners, np.where(best, sure * likely, 0)


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)


# --------------------------------------------------------------------------------------------------------------- R-CNN


@host("magicmind.Proposal")
def proposal(call: HostCall) -> Sequence[Any]:
    """Anchors at every cell, changed, clipped to the image, without small ones; the best that do not overlap."""
    scores, changes, image = call.inputs
    anchors = np.array(call.attr("anchors"), np.float32).reshape(-1, 4)
    count, (height, width) = len(anchors), scores.shape[2:]
    shift = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) * call.attr("stride")  # x, y
    base = (np.tile(shift, 2)[:, :, None] + anchors).reshape(-1, 4).astype(np.float32)
    change = changes[0].reshape(count, 4, height, width).transpose(2, 3, 0, 1).reshape(-1, 4)
    score = scores[0, count:].transpose(1, 2, 0).reshape(-1)
    rows, columns, zoom = image.reshape(-1)[:3]
    boxes = np.clip(_changed(base, change), 0, np.array([columns, rows, columns, rows]) - 1).astype(np.float32)
    large = (boxes[:, 2:] - boxes[:, :2] + 1 >= call.attr("min_size") * zoom).all(axis=1)
    candidates = np.nonzero(large)[0]
    order = candidates[np.argsort(-score[candidates], kind="stable")][: call.attr("nms_before")]
    kept = suppress(boxes, order, call.attr("nms_threshold"), border=1)[: call.attr("nms_after")]
    regions = np.concatenate([np.zeros((len(kept), 1), np.float32), boxes[kept]], axis=1)
    return [regions, score[kept].reshape(-1, 1)][: call.outputs]


def _changed(boxes: Array, changes: Array) -> Array:
    """Corners (pixels inside) moved by shares of their size and scaled by exponentials."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    centre = boxes[:, :2] + size / 2 + changes[:, :2] * size
    half = np.exp(changes[:, 2:]) * size / 2
    return np.concatenate([centre - half, centre + half], axis=1)


@host("magicmind.PSRoiPool")
def ps_roi_pool(call: HostCall) -> Sequence[Any]:
    """The mean in each cell of a grid over each region, taken from the channels of that cell; 0 where empty."""
    x, regions = call.inputs
    size, depth, scale = call.attr("group_size"), call.attr("output_dim"), np.float32(call.attr("spatial_scale", 1.0))
    height, width = x.shape[2:]
    result = np.zeros((len(regions), depth, size, size), x.dtype)
    for region, found in zip(regions, result, strict=True):
        image = x[int(region[0])].reshape(depth, size, size, height, width)
        left, top = (_half_away(v) * scale for v in region[1:3])
        right, bottom = (_half_away(v + 1) * scale for v in region[3:5])
        vertical, horizontal = _cells(top, bottom, size, height), _cells(left, right, size, width)
        for (i, (y0, y1)), (j, (x0, x1)) in product(enumerate(vertical), enumerate(horizontal)):
            if y1 > y0 and x1 > x0:
                found[:, i, j] = image[:, i, j, y0:y1, x0:x1].mean(axis=(1, 2))
    return [result]


def _half_away(v: Any) -> np.float32:
    """Rounded as C does it."""
    return np.float32(np.copysign(np.floor(np.abs(v) + 0.5), v))


def _cells(first: Any, last: Any, count: int, limit: int) -> list[tuple[int, int]]:
    """Start and end of each of `count` cells of first..last, at least 0.1 long, within 0..limit."""
    step = np.float32(max(last - first, np.float32(0.1)) / count)
    starts = [int(np.floor(np.float32(i) * step + first)) for i in range(count)]
    ends = [int(np.ceil(np.float32(i + 1) * step + first)) for i in range(count)]
    return [(min(max(a, 0), limit), min(max(b, 0), limit)) for a, b in zip(starts, ends, strict=True)]
