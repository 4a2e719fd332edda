"""LabelEncoder: a dictionary as two lists in the node's attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.runtime.host import HostCall, host

_DEFAULTS = {"strings": "_Unused", "int64s": -1, "floats": -0.0}


@host("ai.onnx.ml.LabelEncoder")
def label_encoder(call: HostCall) -> Sequence[Any]:
    """The value of each element's key; of equal keys the last one counts, and NaN is a key like others."""
    x = call.inputs[0]
    keys, values = _list(call, "keys"), _list(call, "values")
    known = {_key(key): value for key, value in zip(keys, values, strict=True)}
    default = _default(call)
    found = [known.get(_key(item), default) for item in x.ravel().tolist()]
    return [np.array(found, call.dtypes[0]).reshape(x.shape)]


def _key(item: Any) -> Any:
    """NaN equals nothing, itself included; words may be given as bytes."""
    if isinstance(item, bytes):
        return item.decode("utf-8", "surrogateescape")
    return None if item != item else item


def _kind(call: HostCall, role: str) -> str:
    return next(kind for kind in ("tensor", "strings", "int64s", "floats") if call.attr(f"{role}_{kind}") is not None)


def _list(call: HostCall, role: str) -> list[Any]:
    kind = _kind(call, role)
    found = call.attr(f"{role}_{kind}")
    if kind == "tensor":
        return list(np.asarray(found).ravel().tolist())
    # The input is float32: so must be its keys, to be found.
    return list(np.asarray(found, np.float32).tolist()) if kind == "floats" else list(found)


def _default(call: HostCall) -> Any:
    kind = _kind(call, "values")
    given = call.attr(f"default_{kind.removesuffix('s')}")
    if kind == "tensor":
        dtype = call.dtypes[0]
        missing: Any = (
            "_Unused" if dtype == np.dtype(object) else -0.0 if dtype is not None and dtype.kind == "f" else -1
        )
        return missing if given is None else np.asarray(given).ravel().tolist()[0]
    return _DEFAULTS[kind] if given is None else given


@host("magicmind.PairwiseCoupling")
def pairwise_coupling(call: HostCall) -> Sequence[Any]:
    """Probabilities of classes from the scores of all pairs of them.

    Wu, Lin, Weng 2004, "Probability Estimates for Multi-class Classification by Pairwise Coupling", second method, with
    the limits of libsvm.
    """
    scores, classes = call.inputs[0], int(call.attr("classes"))
    wins = 1 / (1 + np.exp(scores * np.asarray(call.attr("prob_a")) + np.asarray(call.attr("prob_b"))))
    wins = np.clip(wins, 1e-7, 1 - 1e-7)
    rows, columns = np.triu_indices(classes, 1)
    found = np.empty((len(scores), classes))
    for row, probabilities in zip(wins, found, strict=True):
        pairs = np.zeros((classes, classes))
        pairs[rows, columns], pairs[columns, rows] = row, 1 - row
        probabilities[:] = _coupled(pairs)
    return [found.astype(scores.dtype)]


def _coupled(pairs: Any) -> Any:
    """The probabilities p that minimise the sum of (pairs[j, i] p[i] - pairs[i, j] p[j])^2."""
    classes = len(pairs)
    quadratic = -pairs.T * pairs
    np.fill_diagonal(quadratic, (pairs**2).sum(axis=0))
    p = np.full(classes, 1 / classes)
    for _ in range(max(100, classes)):
        gradient = quadratic @ p
        total = p @ gradient
        if np.abs(gradient - total).max() < 0.005 / classes:
            break
        for t in range(classes):
            change = (total - gradient[t]) / quadratic[t, t]
            p[t] += change
            total = (total + change * (change * quadratic[t, t] + 2 * gradient[t])) / (1 + change) ** 2
            gradient = (gradient + change * quadratic[t]) / (1 + change)
            p /= 1 + change
    return p
