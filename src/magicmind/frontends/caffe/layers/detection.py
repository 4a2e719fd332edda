"""Detectors: SSD's priors and output, darknet's regions, R-CNN's proposals and pooling of regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.caffe.anchors import anchors_of
from magicmind.frontends.caffe.layer import Layer, importer
from magicmind.frontends.caffe.plugins import literal_settings, plugin_importer
from magicmind.ops.emitter import Value
from magicmind.ops.fused import DOMAIN


@importer("PriorBox")
def prior_box(layer: Layer) -> Value:
    """[1, 2, boxes * 4]: corners over the image for every cell of the map, then their variances.  A constant."""
    p = layer.message.prior_box_param
    rows, columns = layer.size(layer.x, 2), layer.size(layer.x, 3)
    height, width = _image_size(layer, p)
    step_y = p.step_h or p.step or height / rows
    step_x = p.step_w or p.step or width / columns
    half = np.array(_prior_sizes(p), np.float64) / 2  # [boxes, (width, height)]
    layer.limit(rows * columns * half.size * 4, "the priors")
    y = (np.arange(rows) + p.offset)[:, None, None] * step_y + np.zeros((1, columns, 1))
    x = (np.arange(columns) + p.offset)[None, :, None] * step_x + np.zeros((rows, 1, 1))
    w, h = half[:, 0], half[:, 1]
    boxes = np.stack([(x - w) / width, (y - h) / height, (x + w) / width, (y + h) / height], axis=-1)
    boxes = boxes.clip(0, 1) if p.clip else boxes
    variances = np.broadcast_to(_variances(p), boxes.shape)
    both = np.stack([boxes.reshape(-1), variances.reshape(-1)])[None].astype(np.float32)
    return layer.net.op("Identity", layer.net.const(both))


def _image_size(layer: Layer, p: Any) -> tuple[int, int]:
    if p.img_size or (p.img_h and p.img_w):
        return p.img_h or p.img_size, p.img_w or p.img_size
    return layer.size(layer.bottom(1), 2), layer.size(layer.bottom(1), 3)


def _prior_sizes(p: Any) -> list[tuple[float, float]]:
    """(width, height) of the boxes of a cell: per size the square, the square up to max_size, then the ratios."""
    ratios: list[float] = []
    for ratio in p.aspect_ratio:
        for r in (ratio, 1 / ratio) if p.flip else (ratio,):
            if all(abs(r - known) >= 1e-6 for known in (1.0, *ratios)):
                ratios.append(r)
    if p.max_size and len(p.max_size) != len(p.min_size):
        raise ModelFormatError(f"{len(p.max_size)} max_size for {len(p.min_size)} min_size")
    sizes: list[tuple[float, float]] = []
    for i, low in enumerate(p.min_size):
        sizes.append((low, low))
        if p.max_size:
            sizes.append((math.sqrt(low * p.max_size[i]),) * 2)
        sizes += [(low * math.sqrt(r), low / math.sqrt(r)) for r in ratios]
    if not sizes:
        raise ModelFormatError("min_size is missing")
    return sizes


def _variances(p: Any) -> np.ndarray:
    found = list(p.variance) or [0.1]
    if len(found) not in (1, 4):
        raise ModelFormatError(f"{len(found)} variances; 1 or 4 are needed")
    return np.array(found * 4 if len(found) == 1 else found)


@importer("DetectionOutput", host=True)
def detection_output(layer: Layer) -> Value:
    """[rows, 7] (image, label, score, left, top, right, bottom): decoded boxes after suppression.

    Unlike Caffe, which returns [1, 1, rows, 7] and a row of -1 for nothing, there are no rows for nothing: MagicMind's
    form. With five bottoms (RefineDet) the last two refine the priors and dismiss what is no object.
    """
    p, net = layer.message.detection_output_param, layer.net
    if p.num_classes < 1:
        raise ModelFormatError("num_classes is missing")
    return net.op(
        "SsdDetectionOutput", *layer.inputs, domain=DOMAIN,
        num_classes=p.num_classes, share_location=int(p.share_location), background=p.background_label_id,
        code_type=("CORNER", "CENTER_SIZE", "CORNER_SIZE")[p.code_type - 1],
        variance_encoded=int(p.variance_encoded_in_target), keep_top_k=p.keep_top_k,
        confidence_threshold=p.confidence_threshold, nms_threshold=p.nms_param.nms_threshold,
        nms_eta=p.nms_param.eta, nms_top_k=p.nms_param.top_k if p.nms_param.HasField("top_k") else -1,
        objectness=p.objectness_score,
    )  # fmt: skip


@importer("Yolov3DetectionOutput", host=True)
def yolo3_output(layer: Layer) -> Value:
    """[rows, 7] as DetectionOutput's, from raw maps; label 0 is the background."""
    p = layer.message.yolov3_detection_output_param
    maps = len(layer.inputs)
    if len(p.mask) % maps or len(p.anchors_scale) != maps:
        raise ModelFormatError(f"{len(p.mask)} masks and {len(p.anchors_scale)} scales for {maps} maps")
    per_map = len(p.mask) // maps
    anchors = [p.biases[2 * m + i] for m in p.mask for i in (0, 1)]
    return _yolo(layer, p, anchors, per_map, scales=list(p.anchors_scale), softmax=False)


@importer("YoloDetectionOutput", "RegionDetectionOutput", host=True)
def yolo2_output(layer: Layer) -> Value:
    """[rows, 7] as DetectionOutput's, from raw maps of YOLOv2: anchors in cells, a softmax over the classes."""
    p = layer.message.yolo_detection_output_param
    boxes = p.num_box or len(p.biases) // 2
    return _yolo(layer, p, list(p.biases) * len(layer.inputs), boxes, scales=[1] * len(layer.inputs), softmax=True)


def _yolo(layer: Layer, p: Any, anchors: Sequence[float], boxes: int, *, scales: list[int], softmax: bool) -> Value:
    channels = [layer.size(value, 1) for value in layer.inputs]
    if len(anchors) != 2 * boxes * len(channels) or not anchors:
        raise ModelFormatError(f"{len(anchors)} numbers of anchors for {boxes} boxes in each of {len(channels)} maps")
    if any(c != boxes * (5 + p.num_classes) for c in channels):
        raise ModelFormatError(f"{channels} channels; {boxes} boxes of 5 + {p.num_classes} are asked for")
    return layer.net.op(
        "YoloDetectionOutput", *layer.inputs, domain=DOMAIN,
        num_classes=p.num_classes, boxes=boxes, anchors=[float(a) for a in anchors], scales=scales,
        softmax=int(softmax), confidence_threshold=p.confidence_threshold, nms_threshold=p.nms_threshold,
    )  # fmt: skip


@importer("Region", "RegionYolo")
def region(layer: Layer) -> Value:
    """A YOLOv2 map with sigmoid on x, y and objectness, and softmax (or sigmoid) on the classes; shape unchanged."""
    p, net, x = layer.message.region_param, layer.net, layer.x
    channels, batch = layer.size(x, 1), layer.leading(x, 1)
    boxes = p.num or p.boxes_of_each_grid
    if channels != boxes * (p.coords + 1 + p.classes):
        raise ModelFormatError(f"{channels} channels; {boxes} boxes of {p.coords + 1 + p.classes} are asked for")
    spatial = layer.dims(x, 2, 4)
    split = net.reshape(x, *batch, boxes, channels // boxes, *spatial)
    sizes = net.ints(2, p.coords - 2, 1, p.classes)
    place, size, score, labels = net.ops("Split", split, sizes, count=4, axis=2)
    likely = net.op("Softmax", labels, axis=2) if p.softmax or p.do_softmax else net.op("Sigmoid", labels)
    parts = [net.op("Sigmoid", place), size, net.op("Sigmoid", score), likely]
    return net.reshape(net.op("Concat", *parts, axis=2), *batch, channels, *spatial)


@importer("ROIPooling", host=True)
def roi_pooling(layer: Layer) -> Value:
    """The maximum in each cell of a grid over regions [image, left, top, right, bottom]: ONNX's MaxRoiPool."""
    p = layer.message.roi_pooling_param
    shape = [p.pooled_h, p.pooled_w]
    return layer.net.op("MaxRoiPool", layer.x, _regions(layer), pooled_shape=shape, spatial_scale=p.spatial_scale)


@importer("PSROIPooling", host=True)
def ps_roi_pooling(layer: Layer) -> Value:
    """The mean in each cell of a grid over regions, every cell of channels of its own (R-FCN)."""
    p = layer.message.psroi_pooling_param
    if layer.size(layer.x, 1) != p.output_dim * p.group_size**2:
        raise ModelFormatError(f"{layer.size(layer.x, 1)} channels; {p.output_dim} x {p.group_size}² are asked for")
    return layer.net.op(
        "PSRoiPool", layer.x, _regions(layer), domain=DOMAIN,
        output_dim=p.output_dim, group_size=p.group_size, spatial_scale=p.spatial_scale,
    )  # fmt: skip


def _regions(layer: Layer) -> Value:
    """[R, 5]; some files give [R, 5, 1, 1]."""
    value = layer.bottom(1)
    return value if layer.net.rank(value) == 2 else layer.net.reshape(value, -1, 5)


@importer("Proposal", host=True)
def proposal(layer: Layer) -> list[Value]:
    """Regions [R, 5] (and scores [R, 1]) from objectness, box changes and the image's size (Faster R-CNN)."""
    p = layer.message.proposal_param
    anchors = anchors_of(p.base_size, list(p.ratio) or [0.5, 1, 2], list(p.scale) or [8, 16, 32])
    return _propose(
        layer, anchors, stride=p.feat_stride, min_size=p.min_size,
        before=p.pre_nms_topn, after=p.post_nms_topn, threshold=p.nms_thresh,
    )  # fmt: skip


@importer("Python", host=True)
def python_layer(layer: Layer) -> list[Value]:
    """Of the layers written in Python only Faster R-CNN's ProposalLayer, with its usual limits (6000, 300, 0.7), and
    plugins of the layer's name."""
    p = layer.message.python_param
    if p.layer != "ProposalLayer":
        plugin = plugin_importer(p.layer)
        if plugin is None:
            raise UnsupportedOperatorError(f"Python layer {p.module}.{p.layer}; ProposalLayer and plugins are known")
        found = plugin(layer)
        return [found] if isinstance(found, Value) else list(found)
    given = literal_settings(p.param_str)
    anchors = anchors_of(16, [0.5, 1, 2], [float(s) for s in given.get("scales", (8, 16, 32))])
    return _propose(
        layer, anchors, stride=int(given.get("feat_stride", 16)), min_size=16, before=6000, after=300, threshold=0.7
    )


def _propose(
    layer: Layer, anchors: np.ndarray, *, stride: int, min_size: float, before: int, after: int, threshold: float
) -> list[Value]:
    found = layer.net.ops(
        "Proposal", *(layer.bottom(i) for i in range(3)), domain=DOMAIN, count=2,
        anchors=[float(a) for a in anchors.reshape(-1)], stride=stride, min_size=float(min_size),
        nms_before=before, nms_after=after, nms_threshold=threshold,
    )  # fmt: skip
    return list(found[: layer.tops])
