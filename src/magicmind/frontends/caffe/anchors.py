"""The anchors of Faster R-CNN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def anchors_of(base: int, ratios: Sequence[float], scales: Sequence[float]) -> np.ndarray[Any, np.dtype[Any]]:
    """[ratios * scales, 4] corners of boxes around the cell 0..base-1: first the ratios, rounded, each then scaled."""
    centre = (base - 1) / 2
    found = []
    for ratio in ratios:
        width = np.round(math.sqrt(base * base / ratio))
        height = np.round(width * ratio)
        for scale in scales:
            half_x, half_y = (width * scale - 1) / 2, (height * scale - 1) / 2
            found.append([centre - half_x, centre - half_y, centre + half_x, centre + half_y])
    return np.array(found)
