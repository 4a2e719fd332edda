"""Boxes: overlap and suppression, decoding of what networks predict about priors, the best of each class.

Boxes are [..., 4] corners (left, top, right, bottom).
"""

from __future__ import annotations

import numpy as np

from magicmind.runtime.host import Array


def overlaps(box: Array, others: Array, *, border: float = 0.0, distance: float | None = None) -> Array:
    """[n]: intersection over union of `box` [4] with `others` [n, 4]; 0 where the union is empty.

    `border` 1 counts corners as pixels inside. `distance`: less (squared distance of the centres / squared diagonal of
    the box around both) to that power (DIoU: Zheng et al. 2020, with darknet's exponent).
    """
    inner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(inner + border, 0).prod(axis=1)
    union = _areas(box, border) + _areas(others, border) - shared
    found: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    if distance is None:
        return found
    outer = np.maximum(box[2:], others[:, 2:]) - np.minimum(box[:2], others[:, :2])
    apart = (box[:2] + box[2:] - others[:, :2] - others[:, 2:]) / 2
    diagonal = (outer**2).sum(axis=1)
    share = np.divide((apart**2).sum(axis=1), diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
    return np.asarray(found - share**distance)


def _areas(boxes: Array, border: float) -> Array:
    return np.asarray(np.maximum(boxes[..., 2:] - boxes[..., :2] + border, 0).prod(axis=-1))


def suppress(
    boxes: Array,
    order: Array,
    threshold: float,
    *,
    eta: float = 1.0,
    border: float = 0.0,
    limit: int | None = None,
    distance: float | None = None,
) -> list[int]:
    """The indices in `order` (best first) that overlap no better one by more than `threshold`, at most `limit`.

    `eta` below 1 lowers thresholds above 0.5 with every box kept. `border` and `distance` as of `overlaps`.
    """
    kept: list[int] = []
    corners = boxes[order].astype(np.float32)
    worst = np.zeros(len(order), np.float32)  # overlap with what is kept so far
    while order.size and (limit is None or len(kept) < limit):
        kept.append(int(order[0]))
        worst = np.maximum(worst[1:], overlaps(corners[0], corners[1:], border=border, distance=distance))
        threshold *= eta if eta < 1 and threshold > 0.5 else 1
        stays = ~(worst > threshold)
        order, corners, worst = order[1:][stays], corners[1:][stays], worst[stays]
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
    """(labels, boxes) of what stays of every class but the background; by label and falling score, ties in order.

    boxes [n, 1 or classes, 4], scores [n, classes]; scores count above `least`, per class the best `candidates` (-1:
    all) go into the suppression and at most `limit` come out of it.
    """
    labels: list[int] = []
    places: list[int] = []
    for label, row in enumerate(np.ascontiguousarray(scores.T)):
        likely = np.nonzero(row > least)[0]
        if label == background or not likely.size:
            continue
        order = likely[np.argsort(-row[likely], kind="stable")]
        order = order[:candidates] if candidates > -1 else order
        own = boxes[:, label if boxes.shape[1] > 1 else 0]
        kept = suppress(own, order, threshold, eta=eta, border=border, limit=limit, distance=distance)
        labels += [label] * len(kept)
        places += kept
    return np.array(labels, int), np.array(places, int)


def best(scores: Array, limit: int) -> Array:
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
