"""The ends of detectors: SSD, YOLO and R-CNN, in Caffe's form of rows and in MagicMind's of a table for each image.

`ops/detection.py` says what the operators take and give, `boxes.py` decodes and suppresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from magicmind.runtime.host import Array, HostCall, host
from magicmind.runtime.host.boxes import best, by_class, changed, decode_priors, sigmoid, suppress

# ----------------------------------------------------------------------------------------------------------------- SSD


@host("magicmind.SsdDetectionOutput")
def ssd_detection_output(call: HostCall) -> Sequence[Any]:
    """Decoded, suppressed within each class, cut to the best `keep_top_k`; by image and label, best first."""
    limit = call.attr("keep_top_k", -1)
    rows = [np.zeros((0, 7))]
    for image, (boxes, scores) in enumerate(_ssd(call, "CORNER", *call.inputs)):
        labels, places = by_class(
            boxes, scores,
            least=call.attr("confidence_threshold", 0.0), threshold=call.attr("nms_threshold", 0.3),
            background=call.attr("background", 0), candidates=call.attr("nms_top_k", -1),
            eta=call.attr("nms_eta", 1.0), limit=limit if limit > -1 else None,
        )  # fmt: skip
        order = np.argsort(labels, kind="stable")
        rows.append(_rows(image, boxes, scores, labels[order], places[order]))
    return [np.concatenate(rows).astype(np.float32)]


def _rows(image: int, boxes: Array, scores: Array, labels: Array, places: Array, first: int = 0) -> Array:
    """[n, 7]: image, label (of the first class `first`), score, corners."""
    corners = boxes[places, labels if boxes.shape[1] > 1 else 0]
    return np.concatenate(
        [np.full((len(labels), 1), image), labels[:, None] + first, scores[places, labels][:, None], corners], axis=1
    )


Found = Iterator[tuple[Array, Array]]
"""For every image: boxes [n, 1 or classes, 4] and scores [n, classes]."""


def _ssd(
    call: HostCall,
    default: str,
    boxes: Array,
    scores: Array,
    priors: Array,
    objects: Array | None = None,
    refined: Array | None = None,
) -> Found:
    """What is predicted about priors; those that `refined` moves and `objects` dismisses first in RefineDet.

    `default`: the code_type where none is given.
    """
    code, encoded = call.attr("code_type", default), bool(call.attr("variance_encoded", 0))
    count = priors.shape[2] // 4
    corners, variances = priors.reshape(-1, 2, count, 4)[0]
    for image in range(len(boxes)):
        likely, base = scores[image].reshape(count, -1), corners
        if refined is not None:
            change = refined[image].reshape(count, 1, 4)
            base = decode_priors(change, corners, variances, code=code, encoded=encoded)[:, 0]
        if objects is not None:
            sure = objects[image].reshape(count, -1)[:, 1] >= call.attr("objectness", 0.01)
            likely = np.where(sure[:, None], likely, 0)
        change = boxes[image].reshape(count, -1, 4)
        yield decode_priors(change, base, variances, code=code, encoded=encoded), likely


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
            _decode_map(
                found[image].reshape(boxes, 5 + classes, *found.shape[2:]).transpose(2, 3, 0, 1),
                anchors[i] / (np.array(found.shape[:1:-1]) * scale),
                labels=_softmax if softmax else sigmoid,
            )
            for i, (found, scale) in enumerate(zip(call.inputs, call.attr("scales"), strict=True))
        ]
        corners, sure, likely = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        if softmax:  # a box has its best class only
            likely = np.where(likely.argmax(axis=1)[:, None] == np.arange(classes), likely, 0)
        scores = sure[:, None] * likely
        place, label = np.nonzero((scores >= least) & (scores > 0) if softmax else scores > least)
        score = scores[place, label]
        # Equality counts as an overlap there.
        threshold = np.nextafter(np.float32(call.attr("nms_threshold", 0.45)), 0)
        order = best(score)
        kept = order[suppress(corners[place[order]], threshold)]
        rows.append(_rows(image, corners[:, None], scores, label[kept], place[kept], first=1))
    return [np.concatenate(rows).astype(np.float32)]


def _decode_map(
    x: Array, anchors: Array, *, labels: Callable[[Array], Array], spread: float = 1.0
) -> tuple[Array, Array, Array]:
    """Raw x [H, W, A, 5 + classes]: corners [H * W * A, 4] relative to the map, objectness [n], classes [n, classes].

    anchors [A, 2] are relative to the map. `spread` is darknet's scale_x_y: centres reach beyond their cell.
    """
    height, width = x.shape[:2]
    cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)[:, :, None]  # [H, W, 1, 2], x first
    inside = sigmoid(x[..., :2]) * spread - (spread - 1) / 2
    centre = (inside + cells) / np.array([width, height], np.float32)
    half = np.exp(x[..., 2:4]) * anchors / 2
    corners = np.concatenate([centre - half, centre + half], axis=-1).reshape(-1, 4)
    return corners, sigmoid(x[..., 4]).reshape(-1), labels(x[..., 5:]).reshape(len(corners), -1)


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


# ----------------------------------------------------------------------------------------------- MagicMind's own form


@host("magicmind.DetectionOutput")
def detection_output(call: HostCall) -> Sequence[Any]:
    """The best `num_box_limit` of every image after suppression within each class, best first, then zeros; how many."""
    limit, algo = call.attr("num_box_limit"), call.attr("algo")
    power = call.attr("diou_power_exp", 1.0) if call.attr("nms_type", "IOU_NMS") == "DIOU_NMS" else None
    tables, counts = [], []
    for image, (boxes, scores) in enumerate(_ALGORITHMS[algo](call, call.inputs[0], call.inputs[1:])):
        labels, places = by_class(
            boxes, scores,
            least=call.attr("confidence_thresh"), threshold=call.attr("nms_thresh"), limit=limit, distance=power,
            background=-1 if algo.startswith("YOLO") else call.attr("background", 0),
            border=1.0 if algo == "FASTERRCNN" else 0.0,
        )  # fmt: skip
        table = np.zeros((limit, 7), np.float32)
        table[: len(labels)] = _rows(image, boxes, scores, labels, places)
        tables.append(table)
        counts.append(len(labels))
    return [np.array(tables, np.float32).reshape(-1, limit, 7), np.array(counts, np.int32)]


def _yolo(call: HostCall, bias: Array, maps: Sequence[Array]) -> Found:
    """NHWC maps. Boxes are relative to the network's input, of YOLOv5 in its pixels; map by map, cell by cell."""
    count, classes, version = call.attr("num_anchor"), call.attr("num_class"), int(call.attr("algo")[-1])
    extent = np.array(call.attr("image_shape", [1, 1])[::-1], np.float32)  # width, height
    anchors = bias.reshape(len(maps), count, 2)
    spreads = call.attr("aspect_ratios") or [1.0]
    spreads = spreads * (len(maps) // len(spreads))
    for image in range(len(maps[0])):
        parts = []
        for x, own, spread in zip(maps, anchors, spreads, strict=True):
            raw = x[image].reshape(*x.shape[1:3], count, 5 + classes)
            if version == 5:
                parts.append(_decode_map5(raw, own, extent))
            else:  # anchors of YOLOv2 are cells of the map
                relative = own / (np.array(x.shape[2:0:-1], np.float32) if version == 2 else extent)
                labels = _softmax if version == 2 else sigmoid
                parts.append(_decode_map(raw, relative, labels=labels, spread=spread))
        corners, sure, likely = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        objects = sure > call.attr("confidence_thresh")
        yield corners[objects][:, None], sure[objects, None] * likely[objects]


def _decode_map5(x: Array, anchors: Array, extent: Array) -> tuple[Array, Array, Array]:
    """As `_decode_map` of x that went through a sigmoid already; anchors and corners in pixels (YOLOv5)."""
    height, width = x.shape[:2]
    cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)[:, :, None]
    centre = (2 * x[..., :2] - np.float32(0.5) + cells) * (extent / np.array([width, height], np.float32))
    half = (2 * x[..., 2:4]) ** 2 * anchors / 2
    corners = np.concatenate([centre - half, centre + half], axis=-1).reshape(-1, 4).astype(np.float32)
    return corners, x[..., 4].reshape(-1), x[..., 5:].reshape(len(corners), -1)


def _priors(call: HostCall, bias: Array, features: Sequence[Array]) -> Found:
    """SSD and RefineDet: the priors are the bias, coded as all published networks have it."""
    return _ssd(call, "CENTER_SIZE", features[0], features[1], bias, *features[2:])


def _faster_rcnn(call: HostCall, bias: Array, features: Sequence[Array]) -> Found:
    """Regions moved as predicted for each class (or for all alike) and clipped to the image; in its pixels."""
    scores, changes = features[0], features[1].reshape(len(bias), -1, 4)
    sizes = features[2] if len(features) > 2 else np.array([call.attr("image_shape")])
    if changes.shape[1] == 2 != scores.shape[1]:
        changes = changes[:, 1:]  # class agnostic: what is no object, then what is
    for image, (rows, columns) in enumerate(sizes[:, :2]):
        own = bias[:, 0] == image
        boxes = changed(bias[own, None, 1:], changes[own])
        yield np.clip(boxes, 0, np.array([columns, rows, columns, rows]) - 1).astype(np.float32), scores[own]


_ALGORITHMS: dict[str, Callable[[HostCall, Array, Sequence[Array]], Found]] = {
    **dict.fromkeys(("YOLOV2", "YOLOV3", "YOLOV4", "YOLOV5"), _yolo),
    "SSD": _priors,
    "REFINEDET": _priors,
    "FASTERRCNN": _faster_rcnn,
}
