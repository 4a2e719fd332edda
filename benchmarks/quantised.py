"""The int8 networks of the peers, calibrated on seeded samples like the measured inputs, which our build gets too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from magicmind.zoo.peers_int8 import quantise

COUNT = 8
"""Calibration samples. The weights are random, so more say nothing more."""


def samples(feeds: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Other inputs of the same shapes, one image or sequence each."""
    rng = np.random.default_rng(1)
    for _ in range(COUNT):
        yield {name: rng.standard_normal(array.shape, dtype=np.float32) for name, array in feeds.items()}


def ensure(path: Path, feeds: dict[str, np.ndarray]) -> Path:
    """The quantised network beside the float one; made on first use, whole or not at all."""
    batch = next(iter(feeds.values())).shape[0]
    return quantise(path, quantised_file(path, batch), samples(feeds))


def quantised_file(path: Path, batch: int) -> Path:
    """Where the quantised network of a file is kept."""
    return path.with_name(f"{path.stem}.qdq-{batch}.onnx")
