"""Writes binary caffemodels: for tests, and for networks with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from magicmind.frontends.caffe import schema
from magicmind.frontends.caffe.weights import Array


def caffemodel(blobs: Mapping[str, Sequence[Array]]) -> bytes:
    """Blobs by layer as the bytes of a binary caffemodel."""
    net = schema.WeightsNet()
    for name, arrays in blobs.items():
        layer = net.layer.add(name=name)
        for array in arrays:
            blob = layer.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.append(np.ascontiguousarray(array, "<f4").tobytes())
    return bytes(net.SerializeToString())
