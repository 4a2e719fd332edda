"""Arithmetic of boxes x1, y1, x2, y2."""

from __future__ import annotations

import numpy as np

from magicmind.zoo.geometry import Array


def overlap(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box with each of several."""
    corner = np.maximum(box[:2], boxes[:, :2])
    sides = np.maximum(np.minimum(box[2:4], boxes[:, 2:4]) - corner, 0)
    common = sides[:, 0] * sides[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.asarray(common / np.maximum(area + areas - common, 1e-9))


def suppress(rows: Array, limit: float) -> Array:
    """Rows x1, y1, x2, y2, score, class without those that overlap a surer one of their class by more than `limit`.

    The surest first.
    """
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    kept = []
    left = np.arange(len(rows))
    while left.size:
        first, left = left[0], left[1:]
        kept.append(first)
        same = rows[left, 5] == rows[first, 5]
        left = left[~(same & (overlap(rows[first], rows[left]) > limit))]
    return rows[kept]
