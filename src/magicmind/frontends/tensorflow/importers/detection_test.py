"""Suppression of several classes against the rule written down, on graphs made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magicmind.compiler import build
from magicmind.testing.tensorflow import GraphBuilder

Array = np.ndarray[Any, Any]


def overlap(a: Array, b: Array) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = float(np.prod(np.maximum(high - low, 0)))
    return both / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def best(boxes: Array, scores: Array, per_class: int, most: int) -> list[tuple[float, int, Array]]:
    """(score, class, box) of what is kept of one image, best first; boxes are [n, 1 or classes, 4]."""
    found = []
    for k in range(scores.shape[1]):
        kept: list[int] = []
        own = boxes[:, k if boxes.shape[1] > 1 else 0]
        for i in np.argsort(-scores[:, k]):
            if scores[i, k] > 0.2 and len(kept) < per_class and all(overlap(own[i], own[j]) <= 0.5 for j in kept):
                kept.append(int(i))
        found += [(float(scores[i, k]), k, own[i]) for i in kept]
    return sorted(found, key=lambda row: -row[0])[:most]


@pytest.mark.parametrize("own", [False, True], ids=["shared boxes", "own boxes"])
@pytest.mark.parametrize(("per_class", "most", "padded"), [(4, 8, False), (2, 50, True), (20, 50, False)])
def test_the_best_of_all_classes(own: bool, per_class: int, most: int, padded: bool) -> None:
    random, classes, count = np.random.default_rng(1), 3, 12
    corner = random.uniform(0, 1, (2, count, classes if own else 1, 2))
    boxes = np.concatenate([corner, corner + random.uniform(0.1, 0.5, corner.shape)], -1).astype(np.float32)
    scores = random.uniform(0, 1, (2, count, classes)).astype(np.float32)
    b = GraphBuilder()
    b.placeholder("boxes", [-1, *boxes.shape[1:]])
    b.placeholder("scores", [-1, *scores.shape[1:]])
    limits = np.int32(per_class), np.int32(most), np.float32(0.5), np.float32(0.2)
    b.node("CombinedNonMaxSuppression", "y", "boxes", "scores", *limits, pad_per_class=padded, clip_boxes=True)
    outputs = ["y", "y:1", "y:2", "y:3"]
    session = build(b.graph(outputs)).session(threads=1)
    found = [session.run({"boxes": boxes, "scores": scores})[name] for name in outputs]
    assert found[0].shape == (2, min(most, per_class * classes) if padded else most, 4)
    for i in range(2):
        expected = best(boxes[i], scores[i], per_class, found[0].shape[1])
        assert found[3][i] == len(expected)
        for j, (score, k, box) in enumerate(expected):
            assert found[1][i, j] == np.float32(score)
            assert found[2][i, j] == k
            np.testing.assert_allclose(found[0][i, j], np.clip(box, 0, 1))
        assert not any(part[i, len(expected) :].any() for part in found[:3])
