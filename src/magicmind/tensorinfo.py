"""What a model says about one of its inputs or outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TensorInfo:
    """Name, dtype and shape. A dim is an int, or `(min, max)` where it may change; `max` None means no upper bound."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | tuple[int, int | None], ...]
    kind: str = "tensor"
    """`tensor`, or `sequence` or `optional` of tensors: then the shape is what is known of each, if anything."""
