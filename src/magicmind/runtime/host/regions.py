"""Regions of R-CNN: proposals, and pooling by position. `ops/detection.py` says what the operators take and give."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from magicmind.runtime.host import HostCall, host
from magicmind.runtime.host.boxes import best, changed, suppress


@host("magicmind.Proposal")
def proposal(call: HostCall) -> Sequence[Any]:
    """Anchors at every cell, changed, clipped to the image, without small ones; the best that do not overlap."""
    scores, changes, sizes = call.inputs
    anchors = np.array(call.attr("anchors"), np.float32).reshape(-1, 4)
    count, (height, width) = len(anchors), scores.shape[2:]
    shift = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) * call.attr("stride")  # x, y
    base = (np.tile(shift, 2)[:, :, None] + anchors).reshape(-1, 4).astype(np.float32)
    regions, found = [], []
    for image in range(len(scores)):
        change = changes[image].reshape(count, 4, height, width).transpose(2, 3, 0, 1).reshape(-1, 4)
        score = scores[image, count:].transpose(1, 2, 0).reshape(-1)
        rows, columns, zoom = sizes.reshape(len(sizes), -1)[image if len(sizes) > 1 else 0, :3]
        boxes = np.clip(changed(base, change), 0, np.array([columns, rows, columns, rows]) - 1).astype(np.float32)
        large = (boxes[:, 2:] - boxes[:, :2] + 1 >= call.attr("min_size") * zoom).all(axis=1)
        candidates = np.nonzero(large)[0]
        order = candidates[best(score[candidates], call.attr("nms_before"))]
        kept = order[suppress(boxes[order], call.attr("nms_threshold"), border=1, limit=call.attr("nms_after"))]
        regions.append(np.concatenate([np.full((len(kept), 1), image, np.float32), boxes[kept]], axis=1))
        found.append(score[kept].reshape(-1, 1))
    return [np.concatenate(regions), np.concatenate(found)][: call.outputs]


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
        right, bottom = ((_half_away(v) + 1) * scale for v in region[3:5])
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
