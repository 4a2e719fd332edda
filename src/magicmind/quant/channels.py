"""Which channels of a graph's tensors may be multiplied by a factor, and which of them only by the same one.

For f > 0, relu(f x) = f relu(x), and so for everything linear that works on each channel alone: a factor travels from
the convolution that makes a channel (its weights and bias are multiplied) to those that read it (theirs are divided),
through activations, pools, sums, concatenations and shuffles. Channels that meet in a sum share their factor; what
reaches the ends of the graph, or an operator that is not known here, keeps 1. The network computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import PrecisionError
from magicmind.ir.attributes import attribute
from magicmind.ir.evaluate import evaluate_node
from magicmind.ir.types import const_of, type_of
from magicmind.passes.edit import add_constant, graph_of, insert_node, is_op, replace_node
from magicmind.quant.kinds import is_float, is_mover

Array = np.ndarray[Any, np.dtype[Any]]

FIXED = 0
"""The class of channels whose factor is 1."""
_FIXED_IDS: Array = np.full((1, 1), FIXED)
_ALIKE = ("Relu", "LeakyRelu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize")
"""Work on each channel of [N, C, ...] alone, and a factor passes through them."""


def channel_classes(graph: onnx_ir.Graph) -> dict[onnx_ir.Value, Array]:
    """For values whose classes vary along axis 1 alone: the class of each channel, an integer. Channels of one class
    have one factor; that of `FIXED` is 1."""
    found = _Classes()
    for value in graph.inputs:
        found.ids[value] = _FIXED_IDS
    for node in graph:
        found.visit(node)
        for value in node.outputs:
            if value.is_graph_output() or any(use.node.graph is not graph for use in value.uses()):
                found.fix(value)
    final = np.array([found.root(i) for i in range(len(found.parents))])
    rows = ((value, found.row(value)) for value in found.ids)
    return {value: final[row] for value, row in rows if row is not None}


def by_channel(array: Array) -> Array | None:
    """[N, C, ...] as [C], where it differs along C alone."""
    if array.ndim < 2:
        return None
    row = array[0].reshape(array.shape[1], -1)[:, 0]
    return row if (array == spread(row, array.ndim)).all() else None


def spread(row: Array, rank: int) -> Array:
    """[C] as [1, C, 1, ...]."""
    return row.reshape(1, -1, *[1] * (rank - 2))


def source_elements(node: onnx_ir.Node) -> list[Array] | None:
    """For an operator that only moves: of every element of its outputs the index of its input's element that it is.

    None where sizes are not known.
    """
    type_ = None if node.inputs[0] is None else type_of(node.inputs[0])
    if type_ is None or type_.shape is None or not type_.is_static or is_op(node, "MaxPool"):
        return None
    sizes = [int(size) for size in type_.shape if isinstance(size, int)]
    others = [const_of(value) for value in node.inputs[1:]]
    if any(array is None and value is not None for array, value in zip(others, node.inputs[1:], strict=True)):
        return None
    return evaluate_node(node, [np.arange(int(np.prod(sizes))).reshape(sizes), *others])


class _Classes:
    """Classes of elements as they are found in the order of the graph; `ids` broadcast to the values' shapes."""

    def __init__(self) -> None:
        self.parents = [FIXED]
        self.ids: dict[onnx_ir.Value, Array] = {}

    def root(self, i: int) -> int:
        while self.parents[i] != i:
            self.parents[i] = self.parents[self.parents[i]]
            i = self.parents[i]
        return i

    def fix(self, value: onnx_ir.Value | None) -> None:
        if value is not None and value in self.ids:
            self._join(self.ids[value], _FIXED_IDS)
            self.ids[value] = _FIXED_IDS  # so that what follows is short

    def visit(self, node: onnx_ir.Node) -> None:
        """The ids of the node's outputs."""
        outputs = self._outputs(node)
        if outputs is None:
            for value in node.inputs:
                self.fix(value)
            outputs = [_FIXED_IDS for _ in node.outputs]
        self.ids.update(zip(node.outputs, outputs, strict=False))

    def _outputs(self, node: onnx_ir.Node) -> list[Array] | None:
        """None for what no factor passes through."""
        if not node.inputs or not is_float(node.inputs[0]) or node.inputs[0] not in self.ids:
            return None
        first = self.ids[node.inputs[0]]
        if first is _FIXED_IDS and (is_op(node, *_ALIKE) or is_mover(node)):
            return [_FIXED_IDS for _ in node.outputs]
        row = by_channel(first)
        if is_op(node, "Conv"):
            return self._conv(node, row)
        if is_op(node, *_ALIKE):
            passes = row is not None and (not is_op(node, "Clip") or is_homogeneous(node))
            return [spread(row, _rank(node.outputs[0]))] if passes and row is not None else None
        if is_op(node, "Add"):
            return self._add(node)
        if is_op(node, "Concat"):
            return self._concat(node)
        return self._moved(node) if is_mover(node) else None

    def _conv(self, node: onnx_ir.Node, row: Array | None) -> list[Array] | None:
        if not is_plain(node):
            return None
        weights = const_of(node.inputs[1])
        assert weights is not None
        if row is None or len(row) != len(inputs_of(node, weights)):
            self.fix(node.inputs[0])
        fresh = np.arange(len(self.parents), len(self.parents) + weights.shape[0])
        self.parents += fresh.tolist()
        return [spread(fresh, weights.ndim)]

    def _add(self, node: onnx_ir.Node) -> list[Array] | None:
        types = [None if value is None else type_of(value) for value in (*node.inputs, node.outputs[0])]
        if any(value not in self.ids for value in node.inputs) or len({str(t) for t in types}) != 1:
            return None
        first, second = (self.ids[value] for value in node.inputs if value is not None)
        self._join(first, second)
        return [first if first.size >= second.size else second]

    def _concat(self, node: onnx_ir.Node) -> list[Array] | None:
        if any(value not in self.ids for value in node.inputs):
            return None
        values = [value for value in node.inputs if value is not None]
        rank, axis = _rank(values[0]), attribute(node, "axis", 1)
        rows = [self.row(value) for value in values]
        counted = all(row is not None and _channels(value) == len(row) for value, row in zip(values, rows, strict=True))
        if axis % max(rank, 1) == 1 and counted:
            return [spread(np.concatenate([row for row in rows if row is not None]), rank)]
        full = [self._full(value) for value in values]
        return None if any(a is None for a in full) else [np.concatenate([a for a in full if a is not None], axis)]

    def row(self, value: onnx_ir.Value) -> Array | None:
        """The ids by channel, as many as there are channels where that is known; None where they vary elsewhere."""
        row, count = by_channel(self.ids[value]), _channels(value)
        return row if row is None or count is None or len(row) != 1 else np.broadcast_to(row, (count,))

    def _moved(self, node: onnx_ir.Node) -> list[Array] | None:
        value = node.inputs[0]
        assert value is not None
        elements, full = source_elements(node), self._full(value)
        return None if elements is None or full is None else [full.reshape(-1)[at] for at in elements]

    def _full(self, value: onnx_ir.Value) -> Array | None:
        """The ids of every element, where the sizes are known."""
        type_ = type_of(value)
        if type_ is None or type_.shape is None or not type_.is_static:
            return None
        try:
            return np.broadcast_to(self.ids[value], [int(size) for size in type_.shape if isinstance(size, int)])
        except ValueError:  # ids of what is fixed have a rank of their own
            return None

    def _join(self, a: Array, b: Array) -> None:
        count = len(self.parents)
        for pair in np.unique(a.astype(np.int64) * count + b).tolist():
            x, y = (self.root(i) for i in divmod(pair, count))
            self.parents[max(x, y)] = min(x, y)


def _channels(value: onnx_ir.Value) -> int | None:
    """The size of axis 1."""
    type_ = type_of(value)
    count = None if type_ is None or type_.shape is None or type_.rank < 2 else type_.shape[1]
    return count if isinstance(count, int) else None


def _rank(value: onnx_ir.Value) -> int:
    type_ = type_of(value)
    return 0 if type_ is None or type_.shape is None else type_.rank


# ---------------------------------------------------------------------------------------------------------- scaling


def is_plain(node: onnx_ir.Node) -> bool:
    """A Conv with constant weights and bias, over all channels or one each."""
    weights = const_of(node.inputs[1]) if is_op(node, "Conv") else None
    if weights is None:
        return False
    if len(node.inputs) > 2 and node.inputs[2] is not None and const_of(node.inputs[2]) is None:
        return False
    return bool(attribute(node, "group", 1) == 1) or weights.shape[1] == 1


def is_homogeneous(node: onnx_ir.Node) -> bool:
    """Relu, or Clip from 0 to a number above."""
    if is_op(node, "Relu"):
        return True
    if not is_op(node, "Clip") or len(node.inputs) < 3:
        return False
    low, high = const_of(node.inputs[1]), const_of(node.inputs[2])
    return low is not None and high is not None and float(low) == 0.0 and float(high) > 0.0


def inputs_of(node: onnx_ir.Node, weights: Array) -> Array:
    """The weights of a plain Conv as [channels in, all that multiplies it]; a view."""
    if attribute(node, "group", 1) == 1:
        return weights.swapaxes(0, 1)
    return weights.reshape(attribute(node, "group", 1), -1)


def factors_by_value(graph: onnx_ir.Graph, factors: Mapping[str, Array]) -> dict[onnx_ir.Value, Array]:
    """From factors of the channels of some tensors to those of all that share their classes.

    Raises PrecisionError for factors that do not fit the graph, or one another.
    """
    classes = channel_classes(graph)
    values = {value.name or "": value for value in classes}
    by_class = np.ones(1 + max((int(row.max(initial=0)) for row in classes.values()), default=0))
    for name, numbers in factors.items():
        if name in values:
            row = classes[values[name]]
            if row.shape != np.shape(numbers):
                found = f"{np.size(numbers)} factors of {name!r}, which has {len(row)} channels"
                raise PrecisionError(f"the scales do not fit the network: {found}", hint="calibrate this network")
            by_class[row] = numbers
    by_class[FIXED] = 1.0
    for name, numbers in factors.items():
        if name in values and not np.allclose(by_class[classes[values[name]]], numbers, rtol=1e-5):
            raise PrecisionError(
                f"the scales do not fit the network: the factors of {name!r} contradict those of another tensor",
                hint="calibrate this network; where factors were edited: tensors that are added, joined or pooled "
                "share them, inputs and outputs keep 1",
            )
    return {value: by_class[row] for value, row in classes.items()}


def scale_channels(model: onnx_ir.Model, factors: Mapping[str, Array]) -> None:
    """Multiplies the channels of these tensors, and of all that share their classes, in place.

    The network computes the same. Raises PrecisionError as `factors_by_value`.
    """
    if not factors:
        return
    by_value, one = factors_by_value(model.graph, factors), np.ones(1)
    work = [(n, [by_value.get(v, one) if v else one for v in (*n.inputs[:1], n.outputs[0])]) for n in model.graph]
    for node, rows in work:
        before, after = rows[0], rows[-1]
        if is_plain(node) and not (before == 1).all() & (after == 1).all():
            _scale_conv(node, before, after)
        elif is_op(node, "Clip") and is_homogeneous(node) and not (after == 1).all():
            _scale_cap(node, after)


def _scale_conv(node: onnx_ir.Node, before: Array, after: Array) -> None:
    """Divides what multiplies a channel, multiplies what makes one."""
    weights = const_of(node.inputs[1])
    bias = const_of(node.inputs[2]) if len(node.inputs) > 2 else None
    assert weights is not None
    weights = weights.astype(np.float64)
    inputs = inputs_of(node, weights)
    inputs /= before.reshape(-1, *[1] * (inputs.ndim - 1))
    weights *= after.reshape(-1, *[1] * (weights.ndim - 1))
    _set(node, 1, weights, "weight")
    if bias is not None:
        _set(node, 2, bias.astype(np.float64) * after, "bias")


def _set(node: onnx_ir.Node, index: int, array: Array, what: str) -> None:
    node.replace_input_with(
        index, add_constant(graph_of(node), array.astype(np.float32), f"{node.name}.equalised.{what}")
    )


def _scale_cap(clip: onnx_ir.Node, factor: Array) -> None:
    """Clip(x, 0, c) -> Min(Relu(x), c * factor), a number per channel; the result keeps its name."""
    cap, type_ = const_of(clip.inputs[2]), type_of(clip.outputs[0])
    assert cap is not None and type_ is not None
    relu = insert_node(clip, "Relu", [clip.inputs[0]], name=f"{clip.name}.relu", types=[type_])
    numbers = (float(cap) * factor).astype(np.float32).reshape(-1, *[1] * (type_.rank - 2))
    replace_node(clip, "Min", [relu.outputs[0], add_constant(graph_of(clip), numbers, f"{clip.name}.cap")])
