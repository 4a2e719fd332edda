"""Ensembles of decision trees (domain ai.onnx.ml): TreeEnsemble-5, TreeEnsembleRegressor, TreeEnsembleClassifier.

All rows walk all trees at once, one level per round: gather each place's feature, compare, gather the child. Leaves are
their own children, so that short paths wait for long ones. What the leaves weigh is gathered and summed at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.ops.classical import attribute_array, floats_of, labelled, labels_of, transformed
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.labels import DOMAIN, listed
from magicmind.ops.registry import Op

Array = np.ndarray[Any, Any]

_MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER")
_COMPARE = {"LEQ": "LessOrEqual", "LT": "Less", "GTE": "GreaterOrEqual", "GT": "Greater", "EQ": "Equal", "NEQ": "Equal"}
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


@dataclass
class Forest:
    """Nodes of all trees in one table; leaves have themselves as children."""

    modes: list[str]
    features: list[int]
    splits: list[float]
    yes: list[int]
    no: list[int]
    missing: list[int]
    """Whether NaN goes the way of `yes`."""
    roots: list[int]
    weights: Array
    """[nodes, targets]: what a leaf adds."""
    present: Array
    """[nodes, targets]: where it adds at all."""

    def depth(self) -> int:
        """The longest path from a root to a leaf. Raises ModelFormatError for trees with a cycle."""
        level, rounds = set(self.roots), 0
        while level := {c for i in level if self.yes[i] != i for c in (self.yes[i], self.no[i])}:
            rounds += 1
            if rounds > len(self.yes):
                raise ModelFormatError("a tree has a cycle")
        return rounds


# --------------------------------------------------------------------------------------------------------- evaluation


def leaves(e: Expansion, x: Value, forest: Forest) -> Value:
    """int64 [rows, trees]: the leaf that each row reaches in each tree."""
    place = e.op("Expand", e.const([forest.roots], np.int64), e.sizes(e.dim(x, 0), 1))
    children = e.const(np.stack([forest.no, forest.yes], axis=1).reshape(-1), np.int64)
    for _ in range(forest.depth()):
        go = e.cast(_goes_yes(e, x, place, forest), e.type(place).dtype)
        place = e.op("Gather", children, e.op("Add", e.op("Mul", place, e.scalar(2, place)), go), axis=0)
    return place


def _goes_yes(e: Expansion, x: Value, place: Value, forest: Forest) -> Value:
    """bool [rows, trees]: the outcome of the test at each place."""
    feature = e.op("Gather", e.const(forest.features, np.int64), place, axis=0)
    value = e.op("GatherElements", x, feature, axis=1)
    split = e.op("Gather", e.const(forest.splits, e.type(x).dtype.numpy()), place, axis=0)
    used = sorted({m for i, m in enumerate(forest.modes) if forest.yes[i] != i}) or ["LEQ"]
    result = _compared(e, used[0], value, split)
    mode = e.op("Gather", e.ints(*(used.index(m) if m in used else 0 for m in forest.modes)), place, axis=0)
    for number, name in enumerate(used[1:], 1):
        chosen = e.op("Equal", mode, e.scalar(number, mode))
        result = e.op("Where", chosen, _compared(e, name, value, split), result)
    if any(forest.missing):
        follows = e.op("Gather", e.const(np.array(forest.missing, bool)), place, axis=0)
        result = e.op("Or", result, e.op("And", follows, e.op("IsNaN", value)))
    return result


def _compared(e: Expansion, mode: str, value: Value, split: Value) -> Value:
    found = e.op(_COMPARE[mode], value, split)
    return e.op("Not", found) if mode == "NEQ" else found


def aggregated(e: Expansion, x: Value, forest: Forest, how: str) -> Value:
    """[rows, targets]: the weights of the leaves, joined over the trees."""
    dtype = e.type(x).dtype.numpy()
    limits = np.finfo(dtype)
    absent = {"MIN": limits.max, "MAX": limits.min}.get(how, 0)
    weights = e.const(np.where(forest.present, forest.weights, absent), dtype)
    found = e.op("Gather", weights, leaves(e, x, forest), axis=0)
    reduction = {"AVERAGE": "ReduceMean", "SUM": "ReduceSum", "MIN": "ReduceMin", "MAX": "ReduceMax"}[how]
    return e.op(reduction, found, e.ints(1), keepdims=0)


# ------------------------------------------------------------------------------------------------ the form of version 5


@Op("TreeEnsemble", DOMAIN).expand
def expand_ensemble(e: Expansion) -> list[Value]:
    """X [N, features] to [N, targets]."""
    x = floats_of(e)
    how = _AGGREGATES[e.view.attr("aggregate_function", 1)]
    scores = aggregated(e, x, _forest(e), how)
    return [transformed(e, scores, _TRANSFORMS[e.view.attr("post_transform", 0)])]


def _tensor(e: Expansion, name: str) -> Array:
    attr = e.node.attributes.get(name)
    return np.zeros(0) if attr is None else np.asarray(attr.as_tensor().numpy())


def _forest(e: Expansion) -> Forest:
    """Inner nodes, then leaves; a test for membership in a set becomes a chain of tests for equality."""
    modes = [_MODES[int(m)] for m in _tensor(e, "nodes_modes")]
    inner, targets = len(modes), e.view.attr("n_targets", 1)
    ids, amounts = e.view.ints_attr("leaf_targetids") or [], _tensor(e, "leaf_weights")
    ways = []
    for way in ("true", "false"):
        nodes, ends = (e.view.ints_attr(f"nodes_{way}{kind}") or [] for kind in ("nodeids", "leafs"))
        ways.append([n + inner if end else n for n, end in zip(nodes, ends, strict=True)])
    tail = list(range(inner, inner + len(ids)))
    weights = np.zeros((inner + len(ids), targets))
    present = np.zeros(weights.shape, bool)
    weights[tail, ids], present[tail, ids] = amounts, True
    none = [0] * len(ids)
    missing = e.view.ints_attr("nodes_missing_value_tracks_true") or [0] * inner
    forest = Forest(
        modes + ["LEQ"] * len(ids), [*(e.view.ints_attr("nodes_featureids") or []), *none],
        [*map(float, _tensor(e, "nodes_splits")), *map(float, none)], ways[0] + tail, ways[1] + tail,
        [*missing, *none], list(e.view.ints_attr("tree_roots") or []), weights, present,
    )  # fmt: skip
    _unroll_members(forest, _tensor(e, "membership_values"))
    return forest


def _unroll_members(forest: Forest, members: Array) -> None:
    """Sets come in the order of their nodes, each closed by NaN."""
    values = iter(members.tolist())
    for i, mode in enumerate(list(forest.modes)):
        if mode != "MEMBER":
            continue
        found = []
        for value in values:
            if value != value:
                break
            found.append(value)
        if not found:
            raise ModelFormatError(f"node {i} tests for membership in an empty set")
        _unroll(forest, i, found)
    grown = len(forest.modes) - len(forest.weights)
    forest.weights, forest.present = (np.pad(a, ((0, grown), (0, 0))) for a in (forest.weights, forest.present))


def _unroll(forest: Forest, node: int, members: Sequence[float]) -> None:
    forest.modes[node], forest.splits[node] = "EQ", members[0]
    for value in members[1:]:
        new = len(forest.modes)
        forest.modes.append("EQ")
        forest.splits.append(value)
        forest.features.append(forest.features[node])
        forest.missing.append(forest.missing[node])
        forest.yes.append(forest.yes[node])
        forest.no.append(forest.no[node])
        forest.no[node] = new
        node = new


# ----------------------------------------------------------------------------------------------------- the older forms


@Op("TreeEnsembleRegressor", DOMAIN).expand
def expand_regressor(e: Expansion) -> list[Value]:
    """X [N, features] to [N, n_targets] of float32."""
    x = floats_of(e)
    forest = _old_forest(e, x, "target", e.view.attr("n_targets", 1))
    scores = aggregated(e, x, forest, e.view.attr("aggregate_function", "SUM"))
    base = attribute_array(e, "base_values", scores)
    scores = e.op("Add", scores, e.const(base)) if base.size else scores
    return [transformed(e, e.cast_like(scores, e.const(0, np.float32)), e.view.attr("post_transform", "NONE"))]


def _old_forest(e: Expansion, x: Value, role: str, targets: int) -> Forest:
    """Nodes have a number within their tree; leaves are nodes, and may add to several targets."""
    kinds = [m.removeprefix("BRANCH_") for m in listed(e, "nodes_modes")]
    trees, numbers = (e.view.ints_attr(f"nodes_{name}") or [] for name in ("treeids", "nodeids"))
    where = {key: i for i, key in enumerate(zip(trees, numbers, strict=True))}
    own = list(range(len(kinds)))
    ways = []
    for way in ("true", "false"):
        ids = e.view.ints_attr(f"nodes_{way}nodeids") or []
        ways.append([i if kinds[i] == "LEAF" else where[trees[i], ids[i]] for i in own])
    roots = list(dict.fromkeys(trees))
    weights = np.zeros((len(kinds), targets))
    present = np.zeros(weights.shape, bool)
    names = (e.view.ints_attr(f"{role}_{name}") or [] for name in ("treeids", "nodeids", "ids"))
    for tree, number, target, weight in zip(*names, attribute_array(e, f"{role}_weights", x), strict=True):
        weights[where[tree, number], target] += weight
        present[where[tree, number], target] = True
    missing = e.view.ints_attr("nodes_missing_value_tracks_true") or [0] * len(kinds)
    splits = [float(v) for v in attribute_array(e, "nodes_values", x)]
    features = e.view.ints_attr("nodes_featureids") or []
    first = [next(i for i in own if trees[i] == tree) for tree in roots]
    leaf_free = ["LEQ" if kind == "LEAF" else kind for kind in kinds]
    inner = [f if kind != "LEAF" else 0 for f, kind in zip(features, kinds, strict=True)]
    return Forest(leaf_free, inner, splits, ways[0], ways[1], list(missing), first, weights, present)


@Op("TreeEnsembleClassifier", DOMAIN).expand
def expand_classifier(e: Expansion) -> list[Value]:
    """X [N, features] to labels [N] and scores [N, classes]."""
    x, labels = floats_of(e), labels_of(e)
    ids, kind = e.view.ints_attr("class_ids") or [], e.view.attr("post_transform", "NONE")
    if len(labels) < 2:
        raise UnsupportedOperatorError("a classifier of one class")
    scores = aggregated(e, x, _old_forest(e, x, "class", len(labels)), "SUM")
    base = attribute_array(e, "base_values", scores)
    if len(labels) == 2 and len(set(ids)) == 1:
        return _binary(e, e.slice(scores, 1, ids[0], ids[0] + 1), base, labels, kind)
    scores = e.op("Add", scores, e.const(base)) if base.size else scores
    best = e.op("ArgMax", scores, axis=1, keepdims=0)
    return [labelled(e, best, labels), transformed(e, e.cast_like(scores, e.const(0, np.float32)), kind)]


def _binary(e: Expansion, score: Value, base: Array, labels: Sequence[Any], kind: str) -> list[Value]:
    """One score for two classes: a probability where all weights are positive, else a signed distance."""
    score = e.op("Add", score, e.const(base[-1:])) if base.size else score
    positive = bool((attribute_array(e, "class_weights", score) >= 0).all())
    above = e.op("Greater", score, e.scalar(0.5 if positive else 0.0, score))
    best = e.squeeze(e.cast_like(above, e.ints(0)), 1)
    score = e.cast_like(score, e.const(0, np.float32))
    logistic = kind == "LOGISTIC"  # onnxruntime applies no other transform here, and converters rely on it
    other = e.op("Sub", e.scalar(1, score), score) if positive and not logistic else e.op("Neg", score)
    both = e.op("Concat", other, score, axis=1)
    return [labelled(e, best, labels), transformed(e, both, kind) if logistic else both]
