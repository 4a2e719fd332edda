"""From the outputs of detectors to rows x1, y1, x2, y2, score, class in the network's pixels.

Each is called with the outputs of one picture, the smallest score, and the largest number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magicmind.zoo.geometry import Array
from magicmind.zoo.tasks.boxes import suppress


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), in float64."""
    return np.asarray(1 / (1 + np.exp(-x.astype(np.float64))))


@dataclass(frozen=True)
class CenterNet:
    """Peaks of the heatmap, the `boxes` highest; hm_max, heatmap [C, H, W], wh, reg [2, H, W], in cells of `stride`.

    whole: sizes cut to whole cells and corners rounded to them, as the published figures were made.
    """

    stride: int = 4
    whole: bool = False

    def __call__(self, outputs: Sequence[Array], confidence: float, boxes: int) -> Array:
        hm_max, heatmap, wh, reg = outputs
        where = np.flatnonzero((hm_max == heatmap) & (heatmap >= confidence))
        scores = heatmap.reshape(-1)[where]
        chosen = np.argsort(-scores, kind="stable")[:boxes]
        where, scores = where[chosen], scores[chosen]
        kind, cell = np.divmod(where, heatmap[0].size)
        y, x = np.divmod(cell, heatmap.shape[2])
        size = wh[:, y, x].T.astype(np.float64)
        centre = np.stack([x, y], 1) + reg[:, y, x].T.astype(np.float64)
        if self.whole:
            size = np.trunc(size)
            half = np.sign(size) * np.floor(np.abs(size) / 2 + 0.5)
            corner = np.trunc(centre - half)
        else:
            corner = centre - size / 2
        return np.column_stack([self.stride * corner, self.stride * (corner + size), scores, kind])


@dataclass(frozen=True)
class YoloV3:
    """Raw maps [3 * (5 + classes), rows, columns]; `anchors` in pixels and `spread` of centres, map by map."""

    side: int
    anchors: tuple[tuple[tuple[int, int], ...], ...]
    spread: tuple[float, ...]
    limit: float = 0.45

    def __call__(self, outputs: Sequence[Array], confidence: float, boxes: int) -> Array:
        maps = zip(outputs, self.anchors, self.spread, strict=True)
        found = np.concatenate([self._map(*one, confidence) for one in maps])
        return suppress(found, self.limit)[:boxes]

    def _map(self, raw: Array, anchors: tuple[tuple[int, int], ...], spread: float, confidence: float) -> Array:
        rows, columns = raw.shape[1:]
        values = raw.reshape(len(anchors), -1, rows, columns).astype(np.float64)
        scores = sigmoid(values[:, 4:5]) * sigmoid(values[:, 5:])
        a, kind, y, x = np.nonzero(scores >= confidence)
        inner = sigmoid(values[a, :2, y, x]) * spread - (spread - 1) / 2
        centre = (inner + np.stack([x, y], 1)) / [columns, rows] * self.side
        half = np.exp(values[a, 2:4, y, x]) * np.array(anchors, np.float64)[a] / 2
        return np.column_stack([centre - half, centre + half, scores[a, kind, y, x], kind])


@dataclass(frozen=True)
class FastestDet:
    """[5 + classes, rows, columns]: objectness, tx, ty, tw, th and probabilities; score = obj^0.6 * class^0.4."""

    side: int
    limit: float = 0.45

    def __call__(self, outputs: Sequence[Array], confidence: float, boxes: int) -> Array:
        (cells,) = (o.astype(np.float64) for o in outputs)
        kinds = cells[5:].argmax(0)
        scores = cells[0] ** 0.6 * cells[5:].max(0) ** 0.4
        y, x = np.nonzero(scores >= confidence)
        centre = (np.stack([x, y], 1) + np.tanh(cells[1:3, y, x].T)) / [cells.shape[2], cells.shape[1]]
        half = sigmoid(cells[3:5, y, x].T) / 2
        corners = np.column_stack([centre - half, centre + half]) * self.side
        return suppress(np.column_stack([corners, scores[y, x], kinds[y, x]]), self.limit)[:boxes]


@dataclass(frozen=True)
class Corners:
    """scores [n, classes with a first one for nothing], boxes [n, 4] as shares of width and height."""

    width: int
    height: int
    limit: float = 0.3

    def __call__(self, outputs: Sequence[Array], confidence: float, boxes: int) -> Array:
        scores, corners = (o.astype(np.float64) for o in outputs)
        row, kind = np.nonzero(scores[:, 1:] >= confidence)
        pixels = corners[row] * ([self.width, self.height] * 2)
        return suppress(np.column_stack([pixels, scores[row, kind + 1], kind]), self.limit)[:boxes]
