"""Moves DequantizeLinear down, and QuantizeLinear up, past operators that only move or select values: bytes move."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.types import TensorType, const_of, shape_of
from magicmind.passes.edit import add_constant, attribute, graph_of, insert_node, is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.quantised import Dequantised, dequantised, dequantised_constant, insert_dequantise, parameters_of

Array = npt.NDArray[Any]

_FIRST = (
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Slice", "Split", "Gather", "Expand", "Tile",
    "DepthToSpace", "SpaceToDepth", "MaxPool", "Pad", "Resize", "GlobalMaxPool",
)  # fmt: skip
"""Operators whose results are elements of their first input."""
MOVES = frozenset({*_FIRST, "Concat"})


def _moves(node: onnx_ir.Node) -> str:
    """Why the results are not just elements of the data inputs, or an empty text."""
    if node.op_type == "Pad":
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        constant = const_of(fill) if fill is not None else np.zeros(1)
        if attribute(node, "mode", "constant") == "constant" and (constant is None or constant.any()):
            return "it pads with another number than zero"
    if node.op_type == "Resize" and attribute(node, "mode", "nearest") != "nearest":
        return "it computes between elements"
    if node.op_type == "Resize" and attribute(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return "it fills in a number"
    if node.op_type == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].uses():
        return "the places of the largest elements are asked for"
    return ""


def data_inputs(node: onnx_ir.Node) -> list[onnx_ir.Value | None]:
    """The inputs whose elements a moving operator hands on."""
    return list(node.inputs) if node.op_type == "Concat" else list(node.inputs[:1])


def _rebuilt(node: onnx_ir.Node, data: list[onnx_ir.Value], zero: int, dtype: DataType) -> list[onnx_ir.Value | None]:
    """The inputs of the node on other data; a Pad writes the zero point."""
    inputs = [*data, *node.inputs[len(data) :]]
    if node.op_type == "Pad" and attribute(node, "mode", "constant") == "constant":
        fill = add_constant(graph_of(node), np.asarray(zero, dtype.numpy()), f"{node.name}.zero")
        inputs = [*data, *node.inputs[1:2], fill, *node.inputs[3:]]
    return inputs


class MoveDequantise(Rewrite[list[Dequantised]]):
    """Reshape(DequantizeLinear(q)) becomes DequantizeLinear(Reshape(q)), likewise all that only moves elements."""

    roots = MOVES

    def match(self, node: onnx_ir.Node) -> list[Dequantised] | Decline:
        reason = _moves(node)
        if reason:
            return Decline(reason)
        found = [dequantised(value) for value in data_inputs(node)]
        known = [f for f in found if f is not None]
        if not known or len(known) < len(found):
            return Decline("its data is not dequantised")
        first = known[0].parameters
        if not first.per_tensor or any(not f.parameters.same_as(first) for f in known):
            return Decline("its data has several scales")
        if first.dtype == DataType.INT32:
            return Decline("its data is a bias")
        if any(const_of(f.q) is not None for f in known):
            return Decline("its data is constant")
        return known

    def rewrite(self, node: onnx_ir.Node, found: list[Dequantised]) -> None:
        parameters = found[0].parameters
        inputs = _rebuilt(node, [f.q for f in found], int(parameters.zero[0]), parameters.dtype)
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        shapes = [shape_of(output) for output in node.outputs]
        types = [TensorType(parameters.dtype, shape) for shape in shapes]
        moved = insert_node(node, node.op_type, inputs, attributes, name=node.name, types=types)
        moved.metadata_props.update(node.metadata_props)
        for i, (old, new) in enumerate(zip(list(node.outputs), moved.outputs, strict=True)):
            new.name = f"{old.name}.quantised"
            if not old.uses() and not old.is_graph_output():
                continue
            name = old.name
            value = insert_dequantise(node, new, found[0].node, f"{node.name}.dequantise{i or ''}")
            old.name = None
            old.replace_all_uses_with(value, replace_graph_outputs=True)
            value.name = name
        graph_of(node).remove(node, safe=True)


class HoistQuantise(Rewrite[onnx_ir.Node]):
    """QuantizeLinear(Reshape(x)) becomes Reshape(QuantizeLinear(x)), where nothing else reads the Reshape."""

    roots = frozenset({"QuantizeLinear"})

    def match(self, node: onnx_ir.Node) -> onnx_ir.Node | Decline:
        value = node.inputs[0]
        moving = None if value is None else value.producer()
        if moving is None or not is_op(moving, *MOVES) or len(moving.outputs) > 1:
            return Decline("it quantises no moved elements")
        parameters = parameters_of(node)
        if parameters is None or not parameters.per_tensor:
            return Decline("it has several scales, or none that is constant")
        if value is None or only_user(value) is None:
            return Decline("the float values are used elsewhere")
        if any(const_of(v) is not None for v in data_inputs(moving)):
            return Decline("its data is constant")
        reason = _moves(moving)
        return Decline(reason) if reason else moving

    def rewrite(self, node: onnx_ir.Node, found: onnx_ir.Node) -> None:
        parameters = parameters_of(node)
        assert parameters is not None
        data: list[onnx_ir.Value] = []
        for i, value in enumerate(data_inputs(found)):
            assert value is not None
            types = [TensorType(parameters.dtype, shape_of(value))]
            name = f"{node.name}{i or ''}"
            attributes = {"axis": attribute(node, "axis")}
            inputs = [value, *node.inputs[1:]]
            quantise = insert_node(found, "QuantizeLinear", inputs, attributes, name=name, types=types)
            quantise.outputs[0].name = f"{name}.early"
            data.append(quantise.outputs[0])
        inputs = _rebuilt(found, data, int(parameters.zero[0]), parameters.dtype)
        attributes = {name: attr.value for name, attr in found.attributes.items()}
        replace_node(node, found.op_type, inputs, attributes, name=found.name, fused=[found])


class DropRequantise(Rewrite[onnx_ir.Value]):
    """QuantizeLinear(DequantizeLinear(q)) with the same parameters is q."""

    roots = frozenset({"QuantizeLinear"})

    def match(self, node: onnx_ir.Node) -> onnx_ir.Value | Decline:
        own, found = parameters_of(node), dequantised(node.inputs[0])
        if own is None or found is None:
            return Decline("it quantises no dequantised value")
        return found.q if own.same_as(found.parameters) else Decline("the parameters differ")

    def rewrite(self, node: onnx_ir.Node, found: onnx_ir.Value) -> None:
        replace_node(node, "Identity", [found])


class TransposeWeights(Rewrite[tuple[Array, int]]):
    """Transpose(DequantizeLinear(constant)) becomes DequantizeLinear of the transposed constant."""

    roots = frozenset({"Transpose"})

    def match(self, node: onnx_ir.Node) -> tuple[Array, int] | Decline:
        found = dequantised_constant(node.inputs[0])
        if found is None:
            return Decline("it turns no dequantised constant")
        array, parameters = found
        perm = [int(axis) for axis in attribute(node, "perm", tuple(range(array.ndim))[::-1])]
        return np.ascontiguousarray(array.transpose(perm)), perm.index(parameters.axis % array.ndim)

    def rewrite(self, node: onnx_ir.Node, found: tuple[Array, int]) -> None:
        array, axis = found
        dequantise = node.inputs[0].producer()  # type: ignore[union-attr]
        assert dequantise is not None
        turned = add_constant(graph_of(node), array, f"{node.name}.turned")
        inputs = [turned, *dequantise.inputs[1:]]
        replace_node(node, "DequantizeLinear", inputs, {"axis": axis}, name=dequantise.name, fused=[dequantise])
