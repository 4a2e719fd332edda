"""Inputs to measure with: random ones, in sizes that are usual where the network leaves them open."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from magicmind.errors import Error
from magicmind.ir.dims import evaluate, symbols_of
from magicmind.ir.types import dtype_of, ranges_of, shape_of

Feeds = dict[str, np.ndarray[Any, np.dtype[Any]]]
Sizes = dict[str, int]

_BATCHES = (1, 8)
_IMAGE, _LENGTH = 224, 128


def usual_sizes(model: ir.Model) -> list[Sizes]:
    """Values for the symbols of the inputs: batches of 1 and 8, images of 224 pixels, 128 of anything else, each kept
    within its range."""
    ranges, found = ranges_of(model), dict[str, tuple[int, ...]]()
    for value in model.graph.inputs:
        shape = shape_of(value) or ()
        for axis, dim in enumerate(shape):
            usual = _BATCHES if axis == 0 else (_IMAGE,) if len(shape) > 3 and axis > 1 else (_LENGTH,)
            for name in symbols_of(dim):
                found.setdefault(name, usual)
    return list(
        {
            str(sizes): sizes
            for i in range(len(_BATCHES))
            for sizes in [{name: _within(u[min(i, len(u) - 1)], ranges.get(name)) for name, u in found.items()}]
        }.values()
    )


def _within(size: int, bounds: tuple[int, int | None] | None) -> int:
    low, high = bounds or (1, None)
    size = max(size, low, 1)
    return size if high is None else min(size, high)


def random_feeds(model: ir.Model, sizes: Sizes) -> Feeds:
    """Normal floats; zeros and ones where integers are wanted, which are mostly indices and flags.

    Raises Error for inputs that are no numeric tensors.
    """
    rng = np.random.default_rng(0)
    feeds = Feeds()
    for value in model.graph.inputs:
        shape, dtype = shape_of(value), dtype_of(value)
        if shape is None or dtype is None or dtype is ir.DataType.STRING:
            raise Error(f"input {value.name!r} is no tensor of numbers: no inputs to measure with", hint="do not tune")
        dims, kind = [evaluate(dim, sizes) for dim in shape], dtype.numpy()
        random = rng.integers(0, 2, dims) if kind.kind in "iub" else rng.standard_normal(dims)
        feeds[value.name or ""] = random.astype(kind)
    return feeds
