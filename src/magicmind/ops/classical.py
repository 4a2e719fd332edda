"""Operators of classical machine learning (domain ai.onnx.ml) on tables of numbers, as ONNX operators.

Binarizer, Scaler, Normalizer, Imputer, FeatureVectorizer, ArrayFeatureExtractor, OneHotEncoder, LinearRegressor,
LinearClassifier, and what classifiers share. Trees are in `trees.py`, support vectors in `support_vectors.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx_ir import DataType

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.labels import DOMAIN, listed
from magicmind.ops.registry import Op

_WIDE = (DataType.FLOAT, DataType.DOUBLE)


def floats_of(e: Expansion, i: int = 0) -> Value:
    """Input `i` as float32, or float64 where it is that."""
    x = e.input(i)
    return x if e.type(x).dtype in _WIDE else e.cast(x, DataType.FLOAT)


def attribute_array(e: Expansion, name: str, like: Value) -> np.ndarray[Any, Any]:
    """A list of numbers; of float tensors the attribute `<name>_as_tensor` counts too."""
    tensor = e.node.attributes.get(f"{name}_as_tensor")
    found = listed(e, name) if tensor is None else tensor.as_tensor().numpy()
    return np.asarray(found, e.type(like).dtype.numpy())


@Op("Binarizer", DOMAIN).expand
def expand_binarizer(e: Expansion) -> list[Value]:
    """1 above the threshold, else 0."""
    x = e.input(0)
    return [e.cast_like(e.op("Greater", x, e.scalar(e.view.attr("threshold", 0.0), x)), x)]


@Op("Scaler", DOMAIN).expand
def expand_scaler(e: Expansion) -> list[Value]:
    """(x - offset) * scale, in float32."""
    x = e.cast(e.input(0), DataType.FLOAT)
    centred = e.op("Sub", x, e.const(attribute_array(e, "offset", x)))
    return [e.op("Mul", centred, e.const(attribute_array(e, "scale", x)))]


@Op("Normalizer", DOMAIN).expand
def expand_normalizer(e: Expansion) -> list[Value]:
    """Rows divided by their largest element, by the sum of their sizes, or by their length."""
    x = e.cast(e.input(0), DataType.FLOAT)
    kind, axes = e.view.attr("norm", "MAX"), e.ints(e.rank(x) - 1)
    reduction = {"MAX": "ReduceMax", "L1": "ReduceL1", "L2": "ReduceL2"}.get(kind)
    if reduction is None:
        raise ModelFormatError(f"attribute 'norm' is {kind!r}", hint="MAX, L1, L2")
    sizes = e.op("Abs", x) if kind == "MAX" else x
    return [e.op("Div", x, e.op("Max", e.op(reduction, sizes, axes, keepdims=1), e.scalar(1e-30, x)))]


@Op("Imputer", DOMAIN).expand
def expand_imputer(e: Expansion) -> list[Value]:
    """One value of every column (NaN, or a number) replaced."""
    x = e.input(0)
    kind = "int64" if e.type(x).dtype == DataType.INT64 else "float"
    values = listed(e, f"imputed_value_{kind}s")
    wanted = e.view.attr(f"replaced_value_{kind}", 0 if kind == "int64" else 0.0)
    if not values:
        raise ModelFormatError(f"attribute 'imputed_value_{kind}s' is missing")
    missing = e.op("IsNaN", x) if math.isnan(wanted) else e.op("Equal", x, e.scalar(wanted, x))
    return [e.op("Where", missing, e.const(values, e.type(x).dtype.numpy()), x)]


@Op("FeatureVectorizer", DOMAIN).expand
def expand_feature_vectorizer(e: Expansion) -> list[Value]:
    """The columns of all inputs, each cut or filled up with zeros to the width that `inputdimensions` gives it."""
    columns = []
    for i, width in enumerate(e.view.ints_attr("inputdimensions") or []):
        x = e.cast(e.input(i), DataType.FLOAT)
        x = x if e.rank(x) == 2 else e.unsqueeze(x, 1)
        given = e.shape(x)[1]
        if not isinstance(given, int):
            raise UnsupportedOperatorError(f"input {i} has a mutable number of columns")
        if given < width:
            x = e.op("Pad", x, e.ints(0, 0, 0, width - given))
        columns.append(x if given <= width else e.slice(x, 1, 0, width))
    return [e.op("Concat", *columns, axis=1)]


@Op("ArrayFeatureExtractor", DOMAIN).expand
def expand_array_feature_extractor(e: Expansion) -> list[Value]:
    """The elements of the last axis that input 1 names."""
    picked = e.op("Gather", e.input(0), e.reshape(e.input(1), -1), axis=e.rank(e.input(0)) - 1)
    return [e.unsqueeze(picked, 0) if e.rank(picked) == 1 else picked]


@Op("OneHotEncoder", DOMAIN).expand
def expand_one_hot_encoder(e: Expansion) -> list[Value]:
    """A new last axis with 1 at the element's category; all zeros where it has none (which `zeros` = 0 forbids)."""
    if not e.view.attr("zeros", 1):
        raise UnsupportedOperatorError("zeros=0 asks to fail on unknown categories, which no compiled model does")
    x, words = e.input(0), listed(e, "cats_strings")
    names = {"keys_strings": words, "values_int64s": list(range(len(words))), "default_int64": -1}
    place = e.op("LabelEncoder", x, domain=DOMAIN, **names) if words else e.cast(x, DataType.INT64)
    categories = list(range(len(words))) if words else e.view.ints_attr("cats_int64s") or []
    same = e.op("Equal", e.unsqueeze(place, e.rank(x)), e.ints(*categories))
    return [e.cast(same, DataType.FLOAT)]


@Op("LinearRegressor", DOMAIN).expand
def expand_linear_regressor(e: Expansion) -> list[Value]:
    """x @ coefficients^T + intercepts."""
    x = floats_of(e)
    scores = linear_scores(e, x, e.view.attr("targets", 1))
    return [transformed(e, scores, e.view.attr("post_transform", "NONE"))]


def linear_scores(e: Expansion, x: Value, rows: int) -> Value:
    """One score per row of the coefficients."""
    weights = attribute_array(e, "coefficients", x).reshape(rows, -1)
    scores = e.op("MatMul", x, e.const(np.ascontiguousarray(weights.T)))
    intercepts = attribute_array(e, "intercepts", x)
    return e.op("Add", scores, e.const(intercepts)) if intercepts.size else scores


@Op("LinearClassifier", DOMAIN).expand
def expand_linear_classifier(e: Expansion) -> list[Value]:
    """The label with the highest score, and the scores; a single score stands for two classes."""
    x = floats_of(e)
    width = e.shape(x)[-1]
    size = attribute_array(e, "coefficients", x).size
    if not isinstance(width, int) or size % width:
        raise ShapeError(f"{size} coefficients do not fit {width} features")
    scores = linear_scores(e, x, size // width)
    labels, kind = labels_of(e), e.view.attr("post_transform", "NONE")
    if size == width and len(labels) == 2:
        scores = e.op("Concat", e.op("Neg", scores), scores, axis=1)
    scores = transformed(e, scores, kind)
    if e.shape(scores)[1] != 1:
        return [labelled(e, e.op("ArgMax", scores, axis=1, keepdims=0), labels), scores]
    threshold = e.scalar(0.0 if kind == "NONE" else 0.5, scores)
    yes = e.cast(e.squeeze(e.op("GreaterOrEqual", scores, threshold), 1), DataType.INT64)
    return [labelled(e, yes, ["" if isinstance(labels[0], str) else 0, labels[0]]), scores]


# ----------------------------------------------------------------------------------------------- what classifiers share


def labels_of(e: Expansion) -> list[Any]:
    """The classes' names or numbers."""
    for name in ("classlabels_strings", "classlabels_ints", "classlabels_int64s"):
        found = listed(e, name)
        if found:
            return found
    raise ModelFormatError("no class labels are given")


def labelled(e: Expansion, index: Value, labels: Sequence[Any]) -> Value:
    """The label of each index."""
    if not isinstance(labels[0], str):
        return e.op("Gather", e.ints(*labels), index, axis=0)
    keys = list(range(len(labels)))
    return e.op("LabelEncoder", index, domain=DOMAIN, keys_int64s=keys, values_strings=list(labels))


def transformed(e: Expansion, scores: Value, kind: str) -> Value:
    """The scores after `post_transform`, row by row."""
    if kind == "NONE":
        return scores
    if kind == "LOGISTIC":
        return e.op("Sigmoid", scores)
    if kind == "SOFTMAX":
        return e.op("Softmax", scores, axis=-1)
    if kind == "SOFTMAX_ZERO":
        return _softmax_zero(e, scores)
    if kind == "PROBIT":
        return _probit(e, scores)
    raise ModelFormatError(
        f"attribute 'post_transform' is {kind!r}", hint="NONE, LOGISTIC, SOFTMAX, SOFTMAX_ZERO, PROBIT"
    )


def _softmax_zero(e: Expansion, scores: Value) -> Value:
    """Softmax in which scores of zero count nothing; one half everywhere in a row of zeros."""
    axes = e.ints(1)
    top = e.op("ReduceMax", scores, axes, keepdims=1)
    is_zero = e.op("LessOrEqual", e.op("Abs", scores), e.scalar(1e-7, scores))
    weights = e.op(
        "Where", is_zero, e.op("Mul", scores, e.op("Exp", e.op("Neg", top))), e.op("Exp", e.op("Sub", scores, top))
    )
    total = e.op("ReduceSum", weights, axes, keepdims=1)
    none = e.op("Equal", total, e.scalar(0, total))
    return e.op(
        "Where", none, e.scalar(0.5, scores), e.op("Div", weights, e.op("Where", none, e.scalar(1, total), total))
    )


def _probit(e: Expansion, p: Value) -> Value:
    """The normal quantile of p by Winitzki's formula for the inverse error function, as onnxruntime has it."""
    a, one = 0.147, e.scalar(1, p)
    x = e.op("Sub", e.op("Mul", p, e.scalar(2, p)), one)
    log = e.op("Log", e.op("Mul", e.op("Sub", one, x), e.op("Add", one, x)))
    v = e.op("Add", e.op("Mul", log, e.scalar(0.5, p)), e.scalar(2 / (math.pi * a), p))
    root = e.op("Sqrt", e.op("Sub", e.op("Mul", v, v), e.op("Mul", log, e.scalar(1 / a, p))))
    size = e.op("Sqrt", e.op("Sub", root, v))
    return e.op("Mul", e.op("Mul", e.op("Sign", x), size), e.scalar(math.sqrt(2), p))
