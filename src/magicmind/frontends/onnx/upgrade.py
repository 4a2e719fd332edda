"""Operators of old operator sets, rewritten to what the unified graph speaks.

Each rule says below which version an operator is written differently and edits the node in place, so names stay.
Changes that only widened types, or added attributes whose default is the old behaviour, need no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.ir.evaluate import OPSET
from magicmind.ir.types import const_of

OLDEST = 1

Rule = Callable[[onnx_ir.Node], None]
_RULES: dict[str, list[tuple[int, Rule]]] = {}


def upgrade(graph: onnx_ir.Graph) -> None:
    """Rewrites a graph, its subgraphs included, from the operator set it declares; newer ones are kept as they are."""
    version = graph.opset_imports[""]
    for node in list(graph.all_nodes()):
        if node.domain == "":
            for limit, rule in sorted(_RULES.get(node.op_type, []), key=lambda pair: pair[0]):
                if version < limit:
                    rule(node)
    graph.opset_imports[""] = max(version, OPSET)


def below(version: int, *op_types: str) -> Callable[[Rule], Rule]:
    """Registers a rule for nodes of an operator set before `version`."""

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            _RULES.setdefault(op_type, []).append((version, rule))
        return rule

    return register


# ----------------------------------------------------------------------------------------------------------- edits


def take(node: onnx_ir.Node, name: str) -> Any:
    """Removes an attribute; its value, or None."""
    attr = node.attributes.pop(name, None)
    return None if attr is None else attr.value


def new_constant(node: onnx_ir.Node, hint: str, array: Any) -> onnx_ir.Value:
    """A new initializer next to `node`, named after it."""
    graph = node.graph
    assert isinstance(graph, onnx_ir.Graph)
    name = f"{node.name}.{hint}"
    while name in graph.initializers:
        name += "_"
    tensor = onnx_ir.Tensor(np.asarray(array), name=name)
    value = onnx_ir.Value(name=name, type=onnx_ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
    graph.register_initializer(value)
    return value


def set_input(node: onnx_ir.Node, i: int, value: onnx_ir.Value | None) -> None:
    if len(node.inputs) <= i:
        node.resize_inputs(i + 1)
    node.replace_input_with(i, value)


def attribute_to_input(node: onnx_ir.Node, name: str, i: int, dtype: Any = np.int64) -> None:
    value = take(node, name)
    if value is not None:
        set_input(node, i, new_constant(node, name, np.array(value, dtype)))


def _float_of(value: onnx_ir.Value | None) -> np.dtype[Any]:
    """The float type of a value as far as the file tells; float32 else, the only one old exporters wrote."""
    found = None if value is None else value.dtype
    return np.dtype(np.float32) if found is None or not found.is_floating_point() else found.numpy()


# ----------------------------------------------------------------------------------------------------------- rules


@below(9, "BatchNormalization")
def _batch_normalization(node: onnx_ir.Node) -> None:
    """`spatial` = 1 is what later versions mean."""
    if take(node, "spatial") == 0:
        raise ModelFormatError(f"{node.name} (BatchNormalization): spatial=0 has no successor in newer operator sets")


@below(14, "BatchNormalization")
def _batch_normalization_outputs(node: onnx_ir.Node) -> None:
    """Training outputs that inference exports list without using them."""
    if not any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        node.resize_outputs(1)


@below(20, "DFT")
def _dft(node: onnx_ir.Node) -> None:
    """The axis became an input, and its default the last one before the complex pairs."""
    axis = take(node, "axis")
    set_input(node, 2, new_constant(node, "axis", np.array(1 if axis is None else axis, np.int64)))


@below(9, "Scan")
def _scan(node: onnx_ir.Node) -> None:
    """It went over a batch of sequences of different lengths; later versions have neither batch nor lengths."""
    raise UnsupportedOperatorError(
        f"{node.name} (Scan): the form of operator set 8 has no successor", hint="export the model with a newer set"
    )


@below(12, "Dropout")
def _dropout(node: onnx_ir.Node) -> None:
    """The ratio matters in training only."""
    take(node, "ratio")


@below(11, "Clip")
def _clip(node: onnx_ir.Node) -> None:
    """The limits became inputs; absent ones were the largest floats, which limit nothing but infinities."""
    dtype = _float_of(node.inputs[0])
    attribute_to_input(node, "min", 1, dtype)
    attribute_to_input(node, "max", 2, dtype)


@below(10, "Slice")
def _slice(node: onnx_ir.Node) -> None:
    for i, name in enumerate(("starts", "ends", "axes"), 1):
        attribute_to_input(node, name, i)


@below(11, "Pad")
def _pad(node: onnx_ir.Node) -> None:
    attribute_to_input(node, "pads", 1)
    attribute_to_input(node, "value", 2, _float_of(node.inputs[0]))


@below(10, "TopK")
def _top_k(node: onnx_ir.Node) -> None:
    k = take(node, "k")
    set_input(node, 1, new_constant(node, "k", np.array([k], np.int64)))


@below(13, "Squeeze", "Unsqueeze", "ReduceSum")
@below(18, *(f"Reduce{n}" for n in ("Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")))
def _axes(node: onnx_ir.Node) -> None:
    attribute_to_input(node, "axes", 1)


@below(13, "Split")
def _split(node: onnx_ir.Node) -> None:
    attribute_to_input(node, "split", 1)


@below(18, "Split")
def _split_count(node: onnx_ir.Node) -> None:
    """Equal parts have to be counted."""
    if len(node.inputs) < 2 or node.inputs[1] is None:
        node.attributes["num_outputs"] = onnx_ir.AttrInt64("num_outputs", len(node.outputs))


@below(9, "Upsample")
def _upsample_scales(node: onnx_ir.Node) -> None:
    attribute_to_input(node, "scales", 1, np.float32)


@below(10**6, "Upsample")
@below(11, "Resize")
def _resize(node: onnx_ir.Node) -> None:
    """Both placed samples at `output / scale`; the region of interest is a new second input."""
    scales = node.inputs[1] if len(node.inputs) > 1 else None
    node.op_type = "Resize"
    set_input(node, 1, None)
    set_input(node, 2, scales)
    transform = "coordinate_transformation_mode"
    node.attributes[transform] = onnx_ir.AttrString(transform, "asymmetric")
    if node.attributes.get_string("mode", "nearest") == "nearest":
        node.attributes["nearest_mode"] = onnx_ir.AttrString("nearest_mode", _old_rounding(node, const_of(scales)))


def _old_rounding(node: onnx_ir.Node, scales: np.ndarray[Any, Any] | None) -> str:
    """Nearest meant: down when enlarging, up when shrinking (the conformance tests of operator set 10)."""
    if scales is None or (scales >= 1).all():
        return "floor"
    if (scales <= 1).all():
        return "ceil"
    raise ModelFormatError(f"{node.name} enlarges one axis and shrinks another, as only operator set 10 could")


@below(13, "Softmax", "LogSoftmax", "Hardmax")
def _softmax(node: onnx_ir.Node) -> None:
    """Used to work on the matrix that Flatten(axis) makes, so several trailing axes counted as one."""
    axis = node.attributes.get_int("axis", 1)
    node.attributes["axis"] = onnx_ir.AttrInt64("axis", -1)
    x = node.inputs[0]
    if x is None or axis == -1 or rank_of(x) == axis + 1:
        return
    graph, name, op_type = node.graph, node.name, node.op_type
    assert isinstance(graph, onnx_ir.Graph)
    shape = onnx_ir.node("Shape", [x], name=f"{name}.shape")
    flat = onnx_ir.node("Flatten", [x], {"axis": axis}, name=f"{name}.flatten")
    rows = onnx_ir.node(op_type, [flat.outputs[0]], {"axis": -1}, name=name)
    back = onnx_ir.node("Reshape", [rows.outputs[0], shape.outputs[0]], name=f"{name}.reshape")
    for new in (shape, flat, rows):
        new.outputs[0].name = f"{new.name}.out"
    onnx_ir.convenience.replace_nodes_and_values(
        graph, node, [node], [shape, flat, rows, back], [node.outputs[0]], [back.outputs[0]]
    )


_SAME_RANK = frozenset({
    "Conv", "BatchNormalization", "Relu", "LeakyRelu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool",
    "Identity", "Dropout", "Sigmoid", "Tanh", "Concat", "Transpose", "Slice", "Pad",
})  # fmt: skip


def rank_of(value: onnx_ir.Value, depth: int = 64) -> int | None:
    """The rank of a value where a look at its producers tells; None where inference would be needed."""
    if value.shape is not None:
        return value.shape.rank()
    node = value.producer()
    if node is None or depth == 0:
        return None
    if node.op_type in ("Gemm", "Flatten"):
        return 2
    first = node.inputs[0] if node.inputs else None
    if node.op_type == "Reshape":
        return _target_rank(node.inputs)
    return rank_of(first, depth - 1) if node.op_type in _SAME_RANK and first is not None else None


def _target_rank(inputs: Sequence[onnx_ir.Value | None]) -> int | None:
    target = const_of(inputs[1]) if len(inputs) > 1 else None
    return None if target is None else int(target.size)
