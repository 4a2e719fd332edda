"""Support vector machines (domain ai.onnx.ml): SVMRegressor and SVMClassifier as products with the vectors."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from onnx_ir import DataType

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.ir.types import TensorType
from magicmind.ops.classical import attribute_array, floats_of, labelled, labels_of, transformed
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.labels import DOMAIN, listed
from magicmind.ops.registry import NodeView, Op

Array = np.ndarray[Any, Any]


def _kernel(e: Expansion, x: Value, vectors: Array, kind: str) -> Value:
    """[rows, vectors]: how much each row resembles each vector."""
    gamma, offset, degree = (*listed(e, "kernel_params"), 0.0, 0.0, 0.0)[:3]
    if kind == "RBF":
        difference = e.op("Sub", e.unsqueeze(x, 1), e.const(vectors[None]))
        distance = e.op("ReduceSumSquare", difference, e.ints(2), keepdims=0)
        return e.op("Exp", e.op("Mul", distance, e.scalar(-gamma, x)))
    products = e.op("MatMul", x, e.const(np.ascontiguousarray(vectors.T)))
    if kind == "LINEAR":
        return products
    bent = e.op("Add", e.op("Mul", products, e.scalar(gamma, x)), e.scalar(offset, x))
    if kind == "SIGMOID":
        return e.op("Tanh", bent)
    if kind == "POLY":
        return e.op("Pow", bent, e.scalar(int(degree), x))
    raise ModelFormatError(f"attribute 'kernel_type' is {kind!r}", hint="LINEAR, POLY, RBF, SIGMOID")


@Op("SVMRegressor", DOMAIN).expand
def expand_regressor(e: Expansion) -> list[Value]:
    """X [N, features] to [N, 1]; `one_class` only says on which side."""
    x = floats_of(e)
    weights, rho = attribute_array(e, "coefficients", x), attribute_array(e, "rho", x)
    count = e.view.attr("n_supports", 0)
    if count:
        vectors = attribute_array(e, "support_vectors", x).reshape(count, -1)
        likeness = _kernel(e, x, vectors, e.view.attr("kernel_type", "LINEAR"))
    else:
        likeness = x
    y = e.op("Add", e.op("MatMul", likeness, e.const(weights.reshape(-1, 1))), e.const(rho[:1]))
    if e.view.attr("one_class", 0):
        y = e.op("Where", e.op("Greater", y, e.scalar(0, y)), e.scalar(1, y), e.scalar(-1, y))
    return [e.cast(transformed(e, y, e.view.attr("post_transform", "NONE")), DataType.FLOAT)]


@Op("SVMClassifier", DOMAIN).expand
def expand_classifier(e: Expansion) -> list[Value]:
    """X [N, features] to labels [N] and scores: of the classes, or without probabilities of the pairs of classes."""
    x, labels = floats_of(e), labels_of(e)
    counts = e.view.ints_attr("vectors_per_class") or []
    if len(labels) < 2:
        raise UnsupportedOperatorError("a classifier of one class")
    if not counts:
        return _linear(e, x, labels)
    pairs = _pair_scores(e, x, counts)
    first, second = _votes(len(counts))
    won = e.cast_like(e.op("Greater", pairs, e.scalar(0, pairs)), pairs)
    lost = e.op("Sub", e.scalar(1, won), won)
    dtype = e.type(x).dtype.numpy()
    votes = e.op("Add", *(e.op("MatMul", v, e.const(m, dtype)) for v, m in ((won, first), (lost, second))))
    best = labelled(e, e.op("ArgMax", votes, axis=1, keepdims=0), labels)
    kind = e.view.attr("post_transform", "NONE")
    slopes, offsets = (listed(e, f"prob_{name}") for name in "ab")
    if slopes:
        words = {"prob_a": slopes, "prob_b": offsets, "classes": len(counts)}
        scores = e.op("PairwiseCoupling", pairs, domain="magicmind", **words)
    elif len(counts) == 2:
        scores = e.op("Concat", pairs, e.op("Neg", pairs), axis=1)
    else:
        scores = pairs
    return [best, e.cast(transformed(e, scores, kind), DataType.FLOAT)]


def _linear(e: Expansion, x: Value, labels: list[Any]) -> list[Value]:
    """One score per class."""
    weights = attribute_array(e, "coefficients", x).reshape(len(labels), -1)
    scores = e.op("MatMul", x, e.const(np.ascontiguousarray(weights.T)))
    scores = e.op("Add", scores, e.const(attribute_array(e, "rho", x)[:1]))
    best = labelled(e, e.op("ArgMax", scores, axis=1, keepdims=0), labels)
    return [best, e.cast(transformed(e, scores, e.view.attr("post_transform", "NONE")), DataType.FLOAT)]


def _pair_scores(e: Expansion, x: Value, counts: list[int]) -> Value:
    """[rows, pairs]: positive where the first class of a pair wins."""
    total = sum(counts)
    vectors = attribute_array(e, "support_vectors", x).reshape(total, -1)
    given = attribute_array(e, "coefficients", x).reshape(-1, total)
    ends = np.cumsum(counts)
    places = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    pairs = list(combinations(range(len(counts)), 2))
    weights = np.zeros((total, len(pairs)), given.dtype)
    for column, (i, j) in zip(weights.T, pairs, strict=True):
        column[places[i]], column[places[j]] = given[j - 1, places[i]], given[i, places[j]]
    likeness = _kernel(e, x, vectors, e.view.attr("kernel_type", "LINEAR"))
    return e.op("Add", e.op("MatMul", likeness, e.const(weights)), e.const(attribute_array(e, "rho", x)))


def _votes(classes: int) -> tuple[Array, Array]:
    """[pairs, classes] each: the class that gets the vote of a pair it wins, and of one it loses."""
    pairs = np.array(list(combinations(range(classes), 2)))
    return np.eye(classes)[pairs[:, 0]], np.eye(classes)[pairs[:, 1]]


coupling = Op("PairwiseCoupling", "magicmind").host()


@coupling.infer
def infer_coupling(node: NodeView) -> list[TensorType]:
    """One probability per class."""
    x = node.input(0)
    return [TensorType(x.dtype, (x.dims[0], node.attr("classes", 2)))]
