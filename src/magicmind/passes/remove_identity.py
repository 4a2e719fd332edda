"""Removes nodes that hand on their input unchanged."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir

from magicmind.ir.types import const_of, shape_of
from magicmind.passes.edit import attribute, forward
from magicmind.passes.infra import Decline, Rewrite


class RemoveIdentity(Rewrite[onnx_ir.Value]):
    """Removes Identity, Dropout and moves, casts and resizes that change nothing."""

    def match(self, node: onnx_ir.Node) -> onnx_ir.Value | Decline:
        source = node.inputs[0] if node.inputs else None
        if source is None:
            return Decline("no input")
        reason = _RULES[node.op_type](node)
        if reason:
            return Decline(reason)
        if not _can_forward(node, source):
            return Decline("an output of the graph would lose its name")
        return source

    def rewrite(self, node: onnx_ir.Node, found: onnx_ir.Value) -> None:
        for extra in node.outputs[1:]:
            extra.name = None
        forward(node, found)


def _can_forward(node: onnx_ir.Node, source: onnx_ir.Value) -> bool:
    if not node.outputs[0].is_graph_output():
        return True
    fixed = source.is_graph_input() or source.is_graph_output() or source.is_initializer()
    return not fixed and source.graph is node.graph


def _always(node: onnx_ir.Node) -> str:
    return ""


def _same_shape(node: onnx_ir.Node) -> str:
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])  # type: ignore[arg-type]
    return "" if before is not None and before == after else "the shape changes or is not known"


def _dropout(node: onnx_ir.Node) -> str:
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        return "the mask is used"
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is not None:
        mode = const_of(training)
        if mode is None or mode.any():
            return "training mode"
    return ""


def _cast(node: onnx_ir.Node) -> str:
    source = node.inputs[0]
    assert source is not None
    same = source.dtype is not None and source.dtype == node.outputs[0].dtype
    return "" if same else "the dtype changes"


def _transpose(node: onnx_ir.Node) -> str:
    perm = attribute(node, "perm")
    return "" if perm is not None and list(perm) == sorted(perm) else "the order changes"


def _zero_pads(node: onnx_ir.Node) -> str:
    pads = const_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return "" if pads is not None and not pads.any() else "pads are not all zero"


def _slice(node: onnx_ir.Node) -> str:
    """Equal shapes are not enough: a step of -1 keeps the shape and reverses."""
    steps = const_of(node.inputs[4]) if len(node.inputs) > 4 else None
    if len(node.inputs) > 4 and (steps is None or (steps < 0).any()):
        return "a step is negative or not known"
    return _same_shape(node)


def _single_input(node: onnx_ir.Node) -> str:
    return "" if len(node.inputs) == 1 else "more than one input"


def _single_output(node: onnx_ir.Node) -> str:
    return "" if len(node.outputs) == 1 else "more than one output"


def _resize(node: onnx_ir.Node) -> str:
    if attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return "crops"
    if attribute(node, "antialias", 0):
        return "antialias"
    scales = const_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is not None and scales.size and (scales != 1).any():
        return "a scale is not one"
    return _same_shape(node)


_RULES: dict[str, Callable[[onnx_ir.Node], str]] = {
    "Identity": _always,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast,
    "Reshape": _same_shape,
    "Flatten": _same_shape,
    "Squeeze": _same_shape,
    "Unsqueeze": _same_shape,
    "Expand": _same_shape,
    "Tile": _same_shape,
    "Transpose": _transpose,
    "Pad": _zero_pads,
    "Slice": _slice,
    "Split": _single_output,
    "Concat": _single_input,
    "Sum": _single_input,
    "Mean": _single_input,
    "Max": _single_input,
    "Min": _single_input,
    "Resize": _resize,
}
RemoveIdentity.roots = frozenset(_RULES)
