"""Boxes: overlap and suppression, decoding of what networks predict about priors, the best of each class.

Boxes are [..., 4] corners (left, top, right, bottom).
"""

from __future__ import annotations

import numpy as np

from magicmind.runtime.host import Array


def overlaps(boxes: Array, others: Array, *, border: float = 0.0, distance: float | None = None) -> Array:
    """Intersection over union of boxes [..., 4], broadcast; 0 where the union is empty.

    `border` 1 counts corners as pixels inside. `distance`: less (squared distance of the centres / squared diagonal of
    the box around both) to that power (DIoU: Zheng et al. 2020, with darknet's exponent).
    """
    inner = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    shared = np.maximum(inner + border, 0).prod(axis=-1)
    union = _areas(boxes, border) + _areas(others, border) - shared
    found: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    if distance is None:
        return found
    outer = np.maximum(boxes[..., 2:], others[..., 2:]) - np.minimum(boxes[..., :2], others[..., :2])
    apart = (boxes[..., :2] + boxes[..., 2:] - others[..., :2] - others[..., 2:]) / 2
    diagonal = (outer**2).sum(axis=-1)
    share = np.divide((apart**2).sum(axis=-1), diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
    return np.asarray(found - share**distance)


def _areas(boxes: Array, border: float) -> Array:
    return np.asarray(np.maximum(boxes[..., 2:] - boxes[..., :2] + border, 0).prod(axis=-1))


_CHUNK = 1024
"""Boxes that are looked at together: enough that numpy's calls are cheap, few enough that a limit saves the rest."""


def suppress(
    boxes: Array,
    threshold: float,
    *,
    labels: Array | None = None,
    eta: float = 1.0,
    border: float = 0.0,
    limit: int | None = None,
    distance: float | None = None,
) -> list[int]:
    """Which boxes [n, 4] (best first) overlap no better one of their label by more than `threshold`; at most `limit`.

    `eta` below 1 lowers a label's threshold above 0.5 with every box kept. `border` and `distance` as of `overlaps`.
    """
    labels = np.zeros(len(boxes), int) if labels is None else labels
    thresholds = np.full(int(labels.max(initial=0)) + 1, threshold, np.float32)
    kept: list[int] = []
    for first in range(0, len(boxes), _CHUNK):
        order = np.arange(first, min(first + _CHUNK, len(boxes)))
        worst = np.zeros(len(order), np.float32)  # overlap with what is kept so far
        if kept:
            shares = overlaps(boxes[kept, None], boxes[order], border=border, distance=distance)
            worst = np.where(labels[kept, None] == labels[order], shares, 0).max(axis=0, initial=0)
        while True:
            stays = ~(worst > thresholds[labels[order]])
            order, worst = order[stays], worst[stays]
            if not order.size or (limit is not None and len(kept) >= limit):
                break
            best, order = int(order[0]), order[1:]
            kept.append(best)
            alike = labels[order] == labels[best]
            shares = overlaps(boxes[best], boxes[order], border=border, distance=distance)
            worst = np.maximum(worst[1:], np.where(alike, shares, 0))
            thresholds[labels[best]] *= eta if eta < 1 and thresholds[labels[best]] > 0.5 else 1
        if limit is not None and len(kept) >= limit:
            break
    return kept


def by_class(
    boxes: Array,
    scores: Array,
    *,
    least: float,
    threshold: float,
    background: int = -1,
    candidates: int = -1,
    eta: float = 1.0,
    border: float = 0.0,
    limit: int | None = None,
    distance: float | None = None,
) -> tuple[Array, Array]:
    """(labels, boxes) of what stays of every class but the background, at most `limit`; by falling score, then label.

    boxes [n, 1 or classes, 4], scores [n, classes]; scores count above `least`, and per class the best `candidates`
    (-1: all) go into the suppression.
    """
    likely = np.greater(scores.T, least)
    if 0 <= background < len(likely):
        likely[background] = False
    labels, places = np.nonzero(likely)
    order = best(scores[places, labels])
    labels, places = labels[order], places[order]
    if candidates > -1:
        late = [np.nonzero(labels == label)[0][candidates:] for label in range(len(likely))]
        counts = np.ones(len(labels), bool)
        counts[np.concatenate(late)] = False
        labels, places = labels[counts], places[counts]
    corners = boxes[places, labels if boxes.shape[1] > 1 else 0].astype(np.float32)
    kept = suppress(corners, threshold, labels=labels, eta=eta, border=border, limit=limit, distance=distance)
    return labels[kept], places[kept]


def best(scores: Array, limit: int | None = None) -> Array:
    """Positions of the `limit` highest scores, falling; ties in order."""
    return np.argsort(-scores, kind="stable")[:limit]


def decode_priors(changes: Array, priors: Array, variances: Array, *, code: str, encoded: bool) -> Array:
    """[P, locations, 4] corners from what the network predicts about each prior (SSD).

    `code`: CORNER, CENTER_SIZE or CORNER_SIZE; `encoded`: the variances are in the predictions already.
    """
    priors, variances = priors[:, None], variances[:, None]
    changes = changes if encoded else changes * variances
    if code == "CORNER":
        return np.asarray(priors + changes)
    size = priors[..., 2:] - priors[..., :2]
    if code == "CORNER_SIZE":
        return np.asarray(priors + changes * np.concatenate([size, size], axis=-1))
    centre = (priors[..., :2] + priors[..., 2:]) / 2 + changes[..., :2] * size
    half = np.exp(changes[..., 2:]) * size / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def changed(boxes: Array, changes: Array) -> Array:
    """Boxes [..., 4] moved by shares of their size and scaled by exponentials (R-CNN).

    What comes in has pixels inside as corners, what goes out lies half a size around the centre, as R-CNN has it.
    """
    size = boxes[..., 2:] - boxes[..., :2] + 1
    centre = boxes[..., :2] + size / 2 + changes[..., :2] * size
    half = np.exp(changes[..., 2:]) * size / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) in float32, computed in float64."""
    return np.asarray(1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)
