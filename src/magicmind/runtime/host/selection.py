"""Operators whose output sizes depend on what the tensors hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.runtime.host import Array, HostCall, host


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
    limit = _scalar(call.input(2), 0)
    overlap, least = _scalar(call.input(3), 0.0), _scalar(call.input(4), None)
    corners = _corners(boxes, center=bool(call.attr("center_point_box", 0)))
    kept: list[tuple[int, int, int]] = []
    for batch in range(scores.shape[0] if limit > 0 else 0):
        for label in range(scores.shape[1]):
            row = scores[batch, label]
            order = np.argsort(-row, kind="stable")
            if least is not None:
                order = order[row[order] > least]
            kept += [(batch, label, int(i)) for i in _suppressed(corners[batch], order, overlap, int(limit))]
    return [np.array(kept, np.int64).reshape(-1, 3)]


def _scalar(value: Array | None, default: Any) -> Any:
    return default if value is None or value.size == 0 else value.reshape(-1)[0]


def _corners(boxes: Array, *, center: bool) -> Array:
    """[..., 4]: smaller then larger coordinates of both axes."""
    if center:
        x, y, w, h = np.moveaxis(boxes, -1, 0)
        return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
    first, second = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)


def _suppressed(boxes: Array, order: Array, overlap: float, limit: int) -> list[int]:
    """The boxes that stay: the best one left, again and again, without those it overlaps too much."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while order.size and len(kept) < limit:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=-1)
        union = areas[best] + areas[order] - common
        order = order[~((common > 0) & (common > overlap * union))]
    return kept
