"""Operators whose output sizes depend on what the tensors hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.runtime.host import Array, HostCall, host
from magicmind.runtime.host.boxes import suppress


@host("NonZero")
def non_zero(call: HostCall) -> Sequence[Any]:
    """[rank, count]: the coordinates of all elements that are not 0, in row-major order."""
    x = call.inputs[0]
    return [np.array(np.nonzero(x), np.int64) if x.ndim else np.zeros((0, int(bool(x))), np.int64)]


@host("Compress")
def compress(call: HostCall) -> Sequence[Any]:
    """The slices along `axis` (the elements, without one) whose condition holds; what lies beyond it is left out."""
    x, condition = call.inputs
    axis = call.attr("axis")
    x = x.reshape(-1) if axis is None else x
    return [np.compress(condition[: x.shape[axis or 0]], x, axis=axis or 0)]


@host("Unique")
def unique(call: HostCall) -> Sequence[Any]:
    """Distinct elements or slices: they, where each comes first, which one every element is, how often each comes."""
    axis = call.attr("axis")
    values, first, inverse, counts = np.unique(
        call.inputs[0], return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not call.attr("sorted", 1):
        order = np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        values = np.take(values, order, axis=axis or 0)
        first, counts, inverse = first[order], counts[order], rank[inverse]
    return [values, *(found.astype(np.int64) for found in (first, inverse, counts))][: call.outputs]


@host("NonMaxSuppression")
def non_max_suppression(call: HostCall) -> Sequence[Any]:
    """[selected, 3]: batch, class and box of what is kept, by batch, class and falling score."""
    boxes, scores = call.inputs[:2]
    corners = _corners(boxes, center=bool(call.attr("center_point_box", 0)))
    kept = [
        (batch, label, i)
        for batch, label in np.ndindex(*scores.shape[:2])
        for i in _suppressed(call, corners[batch], scores[batch, label])
    ]
    return [np.array(kept, np.int64).reshape(-1, 3)]


@host("magicmind.NonMaxSuppression")
def own_non_max_suppression(call: HostCall) -> Sequence[Any]:
    """As above, or for one image [selected] boxes, followed by zeros when padded; how many there are."""
    boxes, scores = call.inputs[:2]
    boxes = np.swapaxes(boxes, -1, -2) if call.attr("input_layout", 0) else boxes
    corners = _corners(boxes, center=bool(call.attr("boxes_coordinate_format", 0)))
    groups = [()] if scores.ndim == 1 else np.ndindex(*scores.shape[:2])
    kept = [[*group, i] for group in groups for i in _suppressed(call, corners[group[:1]], scores[group])]
    selected = np.array(kept, np.int32).reshape((-1,) if scores.ndim == 1 else (-1, 3))
    count = np.array(len(kept), np.int32)
    if call.attr("pad_to_max_output_size", 0):
        selected = np.pad(selected, (0, int(_scalar(call.inputs[2], 0)) - len(kept)))
    return [selected, count][: call.outputs]


def _suppressed(call: HostCall, corners: Array, scores: Array) -> list[int]:
    """The boxes [n, 4] that stay of one class; inputs 2 to 4 are how many, the overlap and the least score."""
    limit, overlap, least = (_scalar(call.input(i), default) for i, default in ((2, 0), (3, 0.0), (4, None)))
    order = np.argsort(-scores, kind="stable")
    order = order if least is None else order[scores[order] > least]
    return [int(i) for i in order[suppress(corners[order], overlap, limit=int(limit))]]


def _scalar(value: Array | None, default: Any) -> Any:
    return default if value is None or value.size == 0 else value.reshape(-1)[0]


def _corners(boxes: Array, *, center: bool) -> Array:
    """[..., 4]: smaller then larger coordinates of both axes."""
    if center:
        x, y, w, h = np.moveaxis(boxes, -1, 0)
        return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
    first, second = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)
