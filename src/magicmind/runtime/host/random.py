"""Random numbers. With a seed every call gives the same ones; without, others each time."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.runtime.host import HostCall, host


def _generator(call: HostCall) -> np.random.Generator:
    seed = call.attr("seed")
    return np.random.default_rng(None if seed is None else struct.unpack("<I", struct.pack("<f", seed))[0])


def _shape(call: HostCall) -> tuple[int, ...]:
    return tuple(call.inputs[0].shape) if call.inputs else tuple(call.attr("shape"))


@host("RandomNormal", "RandomNormalLike")
def normal(call: HostCall) -> Sequence[Any]:
    """Normal with `mean` and `scale`."""
    found = _generator(call).normal(call.attr("mean", 0.0), call.attr("scale", 1.0), _shape(call))
    return [np.asarray(found).astype(call.dtypes[0])]


@host("RandomUniform", "RandomUniformLike")
def uniform(call: HostCall) -> Sequence[Any]:
    """Even between `low` and `high`."""
    found = _generator(call).uniform(call.attr("low", 0.0), call.attr("high", 1.0), _shape(call))
    return [np.asarray(found).astype(call.dtypes[0])]


@host("Bernoulli")
def bernoulli(call: HostCall) -> Sequence[Any]:
    """1 with the probability that the input has, else 0."""
    x = call.inputs[0]
    return [np.asarray(_generator(call).random(x.shape) < x).astype(call.dtypes[0])]


@host("Multinomial")
def multinomial(call: HostCall) -> Sequence[Any]:
    """Classes drawn by the logarithms of their weights."""
    x, count = call.inputs[0].astype(np.float64), call.attr("sample_size", 1)
    weights = np.cumsum(np.exp(x - x.max(axis=1, keepdims=True)), axis=1)
    drawn = _generator(call).random((x.shape[0], count)) * weights[:, -1:]
    found = [np.searchsorted(row, points, side="right") for row, points in zip(weights, drawn, strict=True)]
    return [np.stack(found).astype(call.dtypes[0])]


@host("Dropout")
def dropout(call: HostCall) -> Sequence[Any]:
    """In training each element is dropped with probability `ratio` and the rest scaled up; a mask of what is kept.

    A seed draws as numpy's RandomState does, which onnx's own evaluator uses.
    """
    x, ratio, training = call.inputs[0], call.input(1), call.input(2)
    share = 0.5 if ratio is None else float(np.asarray(ratio).reshape(-1)[0])
    if training is None or not np.asarray(training).reshape(-1)[0] or share == 0:
        return [x, np.ones(x.shape, bool)][: call.outputs]
    kept = np.random.RandomState(call.attr("seed")).uniform(0, 1, x.shape) >= share
    return [np.where(kept, x / (1 - share), 0).astype(x.dtype), kept][: call.outputs]
