"""Layer, RMS and instance normalisation, spelled out by exporters, become one operator each.

(x - mean) / sqrt(mean((x - mean)^2) + epsilon) over the last axes, then a scale and an offset with one number per
element of these axes (layer), or per channel where the axes are the spatial ones (instance); RMS normalisation has no
mean.
Recognised are: squares as Pow or Mul; the root as Sqrt or Pow; a quotient, a reciprocal, or a product with
a power of -1/2; variance as the mean of squares less the square of the mean; TensorFlow's order, in which the scale
multiplies the inverse deviation and the offset takes the mean in; casts to float32 inside and around. Reduction,
root and product would be four passes over memory; the operator reads its input from cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir

from magicmind.ir.types import Shape, const_of, dtype_of, type_of
from magicmind.passes.affine import Array, constant_after
from magicmind.passes.edit import add_constant, attribute, graph_of, is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.pattern import (
    Match,
    Pattern,
    any_value,
    below,
    constant,
    first_match,
    number,
    op,
    used_elsewhere,
)

_REACH = 5  # from the root to the end of TensorFlow's order, with a cast

X = any_value("x")
SCALE, OFFSET = constant("scale"), constant("offset")
EPSILON = number("epsilon")


def _cast(value: Pattern) -> Pattern:
    return value | op("Cast", value)


def _square(value: Pattern) -> Pattern:
    return op("Pow", value, 2.0) | op("Mul", value, value)


def _inverse(under: Pattern) -> Pattern:
    root = _cast(op("Sqrt", under) | op("Pow", under, 0.5))
    return _cast(op("Reciprocal", root) | op("Div", number(1.0), root) | op("Pow", under, -0.5))


def _quotient(value: Pattern, under: Pattern) -> Pattern:
    """value / sqrt(under)."""
    root = _cast(op("Sqrt", under) | op("Pow", under, 0.5))
    return op("Div", value, root) | op("Mul", value, _inverse(under))


_MEAN = op("ReduceMean", X)
_CENTRED = op("Sub", X, _MEAN)
_OF_CENTRED = op("ReduceMean", _square(_cast(_CENTRED)))
_DIFFERENCE = op("Sub", op("ReduceMean", _square(X)), _square(_MEAN))
_VARIANCE = op("Add", _cast(_OF_CENTRED | _DIFFERENCE | op("Max", _DIFFERENCE, 0.0)), EPSILON)
_SCALED = op("Mul", _inverse(_VARIANCE), SCALE)  # TensorFlow and Flax scale the inverse deviation
_CENTRED_RULES = (
    op("Add", op("Mul", X, _SCALED), op("Sub", OFFSET, op("Mul", _MEAN, _SCALED)))
    | op("Mul", _CENTRED, _SCALED)
    | _quotient(_cast(_CENTRED), _VARIANCE)
)
_MEAN_SQUARE = op("Add", op("ReduceMean", _square(X)), EPSILON)
_RMS_RULES = _quotient(X, _MEAN_SQUARE) | op("Mul", X, op("Mul", _inverse(_MEAN_SQUARE), SCALE))


@dataclass(frozen=True)
class Normalization:
    """What becomes one node in the place of `last`."""

    op_type: str
    x: onnx_ir.Value
    axis: int
    epsilon: float
    scale: Array
    offset: Array | None
    last: onnx_ir.Node
    covered: tuple[onnx_ir.Node, ...]


class FuseNormalization(Rewrite[Normalization]):
    """(x - mean) / sqrt(variance + epsilon) * scale + offset becomes one normalisation."""

    roots = frozenset({"Sqrt", "Pow"})

    def match(self, node: onnx_ir.Node) -> Normalization | Decline:
        if is_op(node, "Pow") and not any(first_match(op("Pow", X, e), node.outputs[0]) for e in (0.5, -0.5)):
            return Decline("the power is no root")
        if first_match(op("Add", X, EPSILON), node.inputs[0]) is None:
            return Decline("nothing small is added under the root")
        reasons = []
        for last in below(node, _REACH):
            for rules, centred in ((_CENTRED_RULES, True), (_RMS_RULES, False)):
                for found in rules.matches(last.outputs[0], Match()):
                    core = _core(found, last, centred) if node in found.nodes else "the root is of another one"
                    if not isinstance(core, str):
                        return core
                    reasons.append(core)
        reasons.append("the root is of no variance or mean square, or does not divide what they were taken of")
        return Decline(reasons[0])

    def rewrite(self, node: onnx_ir.Node, found: Normalization) -> None:
        graph, name = graph_of(found.last), found.last.name
        inputs: list[onnx_ir.Value | None] = [found.x, add_constant(graph, found.scale, f"{name}.scale")]
        if found.offset is not None:
            inputs.append(add_constant(graph, found.offset, f"{name}.offset"))
        attributes = {"axis": found.axis} if found.op_type != "InstanceNormalization" else {}
        covered = [n for n in found.covered if n is not found.last]
        replace_node(found.last, found.op_type, inputs, {**attributes, "epsilon": found.epsilon}, fused=covered)


def _core(found: Match, last: onnx_ir.Node, centred: bool) -> Normalization | str:
    """The normalisation with what follows it, or why there is none."""
    x = found.values["x"]
    type_ = type_of(x)
    if type_ is None or type_.shape is None:
        return "the rank is not known"
    if type_of(last.outputs[0]) != type_:
        return "the result has another type than the argument"
    if any(n.op_type == "Cast" and not _is_float(n) for n in found.nodes):
        return "a cast on the way is to integers"
    other = used_elsewhere(found.nodes, last)
    if other is not None:
        return f"{other.name}, a step on the way, is used elsewhere"
    rank = len(type_.shape)
    sets = {_axes(n, rank) for n in found.nodes if n.op_type == "ReduceMean"}
    axes = sets.pop() if len(sets) == 1 else None
    if axes is None:
        return "the means are not over the same known axes, with the reduced axes kept"
    if axes != tuple(range(axes[0], rank)):
        return f"the means are over axes {list(axes)} of {rank}, which are not the last ones"
    return _Tail(found, last, x, type_.shape, axes[0]).finished(centred)


def _is_float(node: onnx_ir.Node) -> bool:
    dtype = dtype_of(node.outputs[0])
    return dtype is not None and dtype.is_floating_point()


def _axes(node: onnx_ir.Node, rank: int) -> tuple[int, ...] | None:
    """Sorted and counted from the front; None where not known, empty, or not kept."""
    given = const_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if given is None or not attribute(node, "keepdims", 1) or not given.size:
        return None
    return tuple(sorted(int(axis) % rank for axis in given.reshape(-1)))


class _Tail:
    """Takes the casts around a normalisation and the scale and offset after it."""

    def __init__(self, found: Match, last: onnx_ir.Node, x: onnx_ir.Value, shape: Shape, axis: int) -> None:
        self.found, self.last, self.x, self.shape, self.axis = found, last, x, shape, axis
        self.covered = list(found.nodes)

    def finished(self, centred: bool) -> Normalization | str:
        """Scale and offset per element of a row, else per channel of an instance, else none."""
        if "scale" in self.found.values:
            inner = [const_of(self.found.values[name]) for name in ("scale", "offset") if name in self.found.values]
            constants = [c for c in inner if c is not None]
        else:
            self._casts()
            constants = []
        for op_type, size in self._kinds(centred):
            arrays = [_fitted(c, size, len(self.shape), op_type, self.axis) for c in constants]
            if any(a is None for a in arrays):
                continue
            return self._with_affine(op_type, size, [a for a in arrays if a is not None])
        return "the scale needs one number per element of a row, in a size known at build time"

    def _kinds(self, centred: bool) -> list[tuple[str, tuple[int, ...]]]:
        """Candidates, with the shape of their scale. What the constant after it fits comes first."""
        row, kinds = self.shape[self.axis :], []
        if all(isinstance(d, int) for d in row):
            name = "LayerNormalization" if centred else "RMSNormalization"
            kinds.append((name, tuple(d for d in row if isinstance(d, int))))
        channels = self.shape[1] if len(self.shape) > 2 else None
        if centred and self.axis == 2 and isinstance(channels, int):
            kinds.append(("InstanceNormalization", (channels,)))
        following = constant_after(self.last.outputs[0], "Mul") or constant_after(self.last.outputs[0], "Add")
        if following is not None:
            kinds.sort(key=lambda k: _fitted(following[1], k[1], len(self.shape), k[0], self.axis) is None)
        return kinds

    def _casts(self) -> None:
        """x cast to float32 before and back after: the operator computes in float32 anyway."""
        before, after = self.x.producer(), only_user(self.last.outputs[0])
        if before is None or after is None or not is_op(before, "Cast") or not is_op(after, "Cast"):
            return
        source = before.inputs[0]
        if source is not None and type_of(source) == type_of(after.outputs[0]) and _is_float(after):
            self.x, self.last = source, after
            self.covered += [before, after]

    def _with_affine(self, op_type: str, size: tuple[int, ...], given: list[Array]) -> Normalization:
        scale = given[0] if given else None
        offset = given[1] if len(given) > 1 else None
        if scale is None:
            scale = self._take("Mul", op_type, size)
        if offset is None:
            offset = self._take("Add", op_type, size)
        dtype = dtype_of(self.x)
        assert dtype is not None
        kind = dtype.numpy()
        scale = np.ones(size, kind) if scale is None else scale.astype(kind)
        if offset is None and op_type == "InstanceNormalization":
            offset = np.zeros(size, kind)
        offset = None if offset is None else offset.astype(kind)
        epsilon = self.found.numbers["epsilon"]
        return Normalization(op_type, self.x, self.axis, epsilon, scale, offset, self.last, tuple(self.covered))

    def _take(self, operator: str, op_type: str, size: tuple[int, ...]) -> Array | None:
        """The constant that the next node multiplies by or adds, when it fits; then that node becomes the last."""
        if operator == "Add" and op_type == "RMSNormalization":
            return None
        following = constant_after(self.last.outputs[0], operator)
        fitted = None if following is None else _fitted(following[1], size, len(self.shape), op_type, self.axis)
        if following is None or fitted is None:
            return None
        self.last = following[0]
        self.covered.append(self.last)
        return fitted


def _fitted(array: Array, size: tuple[int, ...], rank: int, op_type: str, axis: int) -> Array | None:
    """The constant in the shape of the operator's scale, or None where it varies along other axes."""
    if array.ndim > rank:
        return None
    full = array.reshape((1,) * (rank - array.ndim) + array.shape)
    where = (1, 2) if op_type == "InstanceNormalization" else (axis, rank)
    if any(d != 1 for d in (*full.shape[: where[0]], *full.shape[where[1] :])):
        return None
    inner = full.reshape(full.shape[where[0] : where[1]])
    return np.ascontiguousarray(np.broadcast_to(inner, size))
