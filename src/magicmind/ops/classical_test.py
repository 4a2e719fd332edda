"""Operators of ai.onnx.ml against onnxruntime."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from magicmind import backend

RNG = np.random.default_rng(11)
ROWS, FEATURES = 7, 4
WORDS = np.array(["ant", "bee", "cow", "bee", "dog"], object)


def _draw(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def _check(op: str, inputs: list[Any], outputs: int = 1, version: int = 3, **attributes: Any) -> None:
    helper = onnx.helper
    names = [f"x{i}" for i in range(len(inputs))]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], domain="ai.onnx.ml", **attributes)
    fed = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in zip(names, inputs, strict=True)
    ]
    graph = helper.make_graph([node], "g", fed, [onnx.ValueInfoProto(name=n) for n in node.output])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", version)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, dict(zip(names, inputs, strict=True)))
    for got, wanted in zip(backend.prepare(model, threads=1).run(inputs), expected, strict=True):
        assert got.shape == wanted.shape
        if wanted.dtype.kind in "OUS":
            assert got.tolist() == wanted.tolist()
        else:
            assert got.dtype == wanted.dtype
            np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Binarizer", [_draw(3, 4)], {"threshold": 0.2}),
        ("Scaler", [_draw(3, 4)], {"offset": [1.0, 2.0, 3.0, 4.0], "scale": [0.5, 1.0, 2.0, 4.0]}),
        ("Scaler", [np.arange(6, dtype=np.int64).reshape(2, 3)], {"offset": [1.0], "scale": [0.5]}),
        ("Normalizer", [_draw(3, 4)], {"norm": "L1"}),
        ("Normalizer", [_draw(3, 4)], {"norm": "L2"}),
        ("Normalizer", [np.abs(_draw(3, 4))], {"norm": "MAX"}),
        (
            "Imputer",
            [np.array([[1, np.nan], [np.nan, 2]], np.float32)],
            {"imputed_value_floats": [7.0, 8.0], "replaced_value_float": float("nan")},
        ),
        ("Imputer", [np.array([[1, -1]], np.int64)], {"imputed_value_int64s": [5], "replaced_value_int64": -1}),
        ("FeatureVectorizer", [_draw(3, 2), _draw(3, 4)], {"inputdimensions": [2, 4]}),
        ("ArrayFeatureExtractor", [_draw(3, 4), np.array([2, 0], np.int64)], {}),
        ("OneHotEncoder", [np.array([3, 1, 9], np.int64)], {"cats_int64s": [1, 3, 5], "zeros": 1}),
        ("OneHotEncoder", [WORDS], {"cats_strings": ["bee", "cow"], "zeros": 1}),
        ("LabelEncoder", [WORDS], {"keys_strings": ["bee", "cow"], "values_int64s": [5, 6], "default_int64": -3}),
        ("LabelEncoder", [WORDS], {"keys_strings": ["bee", "cow"], "values_floats": [0.5, 6.0]}),
        ("LabelEncoder", [np.arange(4)], {"keys_int64s": [1, 3], "values_strings": ["one", "three"]}),
        (
            "LabelEncoder",
            [np.array([0.1, np.nan, 2], np.float32)],
            {"keys_floats": [0.1, float("nan")], "values_int64s": [4, 5]},
        ),
        ("CategoryMapper", [WORDS], {"cats_strings": ["bee", "cow"], "cats_int64s": [5, 6]}),
        ("CategoryMapper", [np.arange(7)], {"cats_strings": ["bee", "cow"], "cats_int64s": [5, 6]}),
    ],
)
def test_preparation_of_features(op: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    _check(op, inputs, version=1 if op != "LabelEncoder" else 4, **attributes)


def test_linear_regressor() -> None:
    weights = _draw(2 * FEATURES).tolist()
    _check("LinearRegressor", [_draw(ROWS, FEATURES)], coefficients=weights, intercepts=[0.5, -1.0], targets=2)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("labels", [{"classlabels_ints": [4, 5, 9]}, {"classlabels_strings": ["a", "b", "c"]}])
def test_linear_classifier(transform: str, labels: dict[str, Any]) -> None:
    weights = _draw(3 * FEATURES).tolist()
    words = {"coefficients": weights, "intercepts": [0.5, -1.0, 0.1], "post_transform": transform, **labels}
    _check("LinearClassifier", [_draw(ROWS, FEATURES)], 2, 1, **words)


def _trees(depth: int, count: int, modes: list[str]) -> dict[str, Any]:
    """Full binary trees with random tests."""
    inner, total = 2**depth - 1, 2 ** (depth + 1) - 1
    own = range(total)
    return {
        "nodes_treeids": [t for t in range(count) for _ in own],
        "nodes_nodeids": [i for _ in range(count) for i in own],
        "nodes_featureids": RNG.integers(0, FEATURES, count * total).tolist(),
        "nodes_values": _draw(count * total).tolist(),
        "nodes_modes": [modes[i % len(modes)] if i < inner else "LEAF" for _ in range(count) for i in own],
        "nodes_truenodeids": [2 * i + 1 if i < inner else 0 for _ in range(count) for i in own],
        "nodes_falsenodeids": [2 * i + 2 if i < inner else 0 for _ in range(count) for i in own],
        "nodes_missing_value_tracks_true": [i % 2 for _ in range(count) for i in own],
    }


def _weights(role: str, depth: int, count: int, ids: list[int]) -> dict[str, Any]:
    leaves = [(t, i) for t in range(count) for i in range(2**depth - 1, 2 ** (depth + 1) - 1)]
    return {
        f"{role}_treeids": [t for t, _ in leaves for _ in ids],
        f"{role}_nodeids": [i for _, i in leaves for _ in ids],
        f"{role}_ids": ids * len(leaves),
        f"{role}_weights": _draw(len(leaves) * len(ids)).tolist(),
    }


def _table() -> Any:
    x = _draw(ROWS, FEATURES)
    x[1, 2] = np.nan
    return x


@pytest.mark.parametrize("how", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_tree_regressor(how: str) -> None:
    words = {**_trees(3, 5, ["BRANCH_LEQ"]), **_weights("target", 3, 5, [0, 1])}
    _check("TreeEnsembleRegressor", [_table()], **words, n_targets=2, aggregate_function=how, base_values=[0.5, 1.0])


def test_trees_of_mixed_tests() -> None:
    modes = ["BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_LEQ", "BRANCH_EQ"]
    _check("TreeEnsembleRegressor", [_table()], **_trees(4, 3, modes), **_weights("target", 4, 3, [0]), n_targets=1)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_tree_classifier(transform: str) -> None:
    words = {**_trees(2, 4, ["BRANCH_LEQ"]), **_weights("class", 2, 4, [0, 1, 2]), "post_transform": transform}
    _check("TreeEnsembleClassifier", [_table()], 2, classlabels_int64s=[3, 5, 8], **words)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_tree_classifier_of_two_classes(positive: bool, transform: str) -> None:
    words = {**_trees(2, 4, ["BRANCH_LEQ"]), **_weights("class", 2, 4, [0]), "post_transform": transform}
    if positive:
        words["class_weights"] = [abs(w) / 4 for w in words["class_weights"]]
    _check("TreeEnsembleClassifier", [_table()], 2, classlabels_strings=["no", "yes"], **words)


KERNELS = ["LINEAR", "RBF", "POLY", "SIGMOID"]


def _machine(kind: str, vectors: int, rows: int, pairs: int) -> dict[str, Any]:
    return {
        "kernel_type": kind,
        "kernel_params": [0.3, 0.2, 3.0],
        "support_vectors": _draw(vectors * FEATURES).tolist(),
        "coefficients": _draw(rows * vectors).tolist(),
        "rho": _draw(pairs).tolist(),
    }


@pytest.mark.parametrize("kind", KERNELS)
def test_support_vector_regressor(kind: str) -> None:
    _check("SVMRegressor", [_draw(ROWS, FEATURES)], version=1, n_supports=6, **_machine(kind, 6, 1, 1))


@pytest.mark.parametrize("kind", KERNELS)
def test_support_vector_classifier(kind: str) -> None:
    words = _machine(kind, 6, 2, 3)
    _check(
        "SVMClassifier", [_draw(ROWS, FEATURES)], 2, 1, vectors_per_class=[2, 3, 1], classlabels_ints=[1, 2, 3], **words
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_support_vector_probabilities(classes: int) -> None:
    ends = [0, 2, 4, 6][: classes + 1]
    counts = [b - a for a, b in pairwise(ends)]
    pairs = classes * (classes - 1) // 2
    words = _machine("RBF", ends[-1], classes - 1, pairs)
    words |= {"prob_a": _draw(pairs).tolist(), "prob_b": _draw(pairs).tolist()}
    labels = ["a", "b", "c"][:classes]
    _check(
        "SVMClassifier", [_draw(ROWS, FEATURES)], 2, 1, vectors_per_class=counts, classlabels_strings=labels, **words
    )
