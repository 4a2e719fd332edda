"""Caffe networks with seeded random weights: shapes come from the network itself, as its importers ask for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.frontends.caffe.prototxt import parse_prototxt
from magicmind.frontends.caffe.source import CaffeSource
from magicmind.frontends.caffe.weights import Array
from magicmind.frontends.caffe.write import caffemodel
from magicmind.graph import SourceGraph
from magicmind.ir.shape_spec import ShapeSpecs

__all__ = ["RandomWeights", "caffemodel", "random_network"]


class RandomWeights:
    """Blobs drawn when they are asked for, and kept."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._drawn: dict[str, dict[int, Array]] = {}

    @property
    def blobs(self) -> dict[str, list[Array]]:
        """All blobs by layer, in order."""
        return {name: [found[i] for i in sorted(found)] for name, found in self._drawn.items()}

    def count(self, layer: Any) -> int:
        """What the layer has been given so far."""
        return len(self._drawn.get(layer.name, ()))

    def shape(self, layer: Any, index: int) -> tuple[int, ...]:
        """The shape of a blob that was drawn."""
        return tuple(self._drawn[layer.name][index].shape)

    def get(self, layer: Any, index: int, shape: Sequence[int], role: str) -> Array:
        """The blob; weights are scaled so that deep networks keep their numbers near one."""
        have = self._drawn.setdefault(layer.name, {})
        if index not in have:
            have[index] = self._draw(tuple(shape), role)
        return have[index].reshape(tuple(shape))

    @property
    def parameters(self) -> int:
        """How many numbers there are in all blobs."""
        return sum(blob.size for found in self._drawn.values() for blob in found.values())

    def _draw(self, shape: tuple[int, ...], role: str) -> Array:
        if role == "moving average factor":
            return np.full(shape, 2, np.float32)
        if role in ("variance", "scale", "factors"):
            return self._rng.uniform(0.5, 1.5, shape).astype(np.float32)
        scale = math.sqrt(2 / max(math.prod(shape[1:]), 1)) if role.endswith("weights") else 0.1
        return self._rng.standard_normal(shape, np.float32) * np.float32(scale)


def random_network(
    prototxt: str, input_shapes: ShapeSpecs | None = None, *, seed: int = 0
) -> tuple[SourceGraph, RandomWeights]:
    """The graph of a network with random weights, and these."""
    weights = RandomWeights(seed)
    source = CaffeSource(parse_prototxt(prototxt, "a test's prototxt"), weights)
    return SourceGraph.of(source, input_shapes), weights
