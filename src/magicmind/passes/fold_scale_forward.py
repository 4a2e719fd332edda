"""Folds a scale and an offset in front of a convolution or matrix product into its weights and bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir

from magicmind.ir.types import const_of, shape_of, type_of
from magicmind.passes.affine import Array, per_channel, rank_of
from magicmind.passes.edit import add_constant, attribute, graph_of, insert_node, only_user, replace_node
from magicmind.passes.fold_scale import ARITHMETIC, affine_of, constant_operand, constant_operand_value
from magicmind.passes.infra import Decline, Rewrite


@dataclass(frozen=True)
class Before:
    """`x * scale + offset`, one number each per input channel, computed by `node`."""

    node: onnx_ir.Node
    scale: Array
    offset: Array | None


class FoldScaleForward(Rewrite[Before]):
    """Conv(x * c) becomes one Conv; Conv(x + c) too where no padding is written, which the sum would miss."""

    roots = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})

    def match(self, node: onnx_ir.Node) -> Before | Decline:
        source = node.inputs[0]
        before = source.producer() if source is not None else None
        if source is None or before is None or before.domain or before.op_type not in ARITHMETIC:
            return Decline("the input is no arithmetic")
        if only_user(source) is None:
            return Decline("the scaled value is used elsewhere")
        split = constant_operand(before)
        if isinstance(split, Decline):
            return split
        value, constant, swapped = split
        weights, rank = const_of(node.inputs[1]), rank_of(source)
        if weights is None or rank is None or not np.issubdtype(weights.dtype, np.floating):
            return Decline("the weights are not constant floats")
        if len(node.inputs) > 2 and node.inputs[2] is not None and const_of(node.inputs[2]) is None:
            return Decline("the bias is not constant")
        if shape_of(value) != shape_of(source):
            return Decline("the constant broadcasts the input")
        if node.op_type == "MatMul" and weights.ndim != 2:
            return Decline("the weights are no matrix")
        if node.op_type == "Gemm" and attribute(node, "transA", 0):
            return Decline("the input is transposed")
        matrix = node.op_type in ("MatMul", "Gemm")
        channels = weights.shape[_input_axis(node)] * (attribute(node, "group", 1) if node.op_type == "Conv" else 1)
        numbers = per_channel(constant, rank - 1 if matrix else 1, rank, channels)
        if numbers is None:
            return Decline("the constant is not one per channel")
        scale, offset = affine_of(before.op_type, numbers, swapped)
        reason = _offset_misfit(node) if offset is not None else ""
        return Decline(reason) if reason else Before(before, scale, offset)

    def rewrite(self, node: onnx_ir.Node, found: Before) -> None:
        weights = const_of(node.inputs[1])
        assert weights is not None
        exact = weights.astype(np.float64)
        graph, inputs = graph_of(node), [constant_operand_value(found.node)]
        scaled = _along_inputs(node, exact, found.scale).astype(weights.dtype)
        inputs.append(add_constant(graph, scaled, f"{node.name}.weight"))
        given = node.inputs[2] if len(node.inputs) > 2 else None
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        if found.offset is None:
            replace_node(node, node.op_type, [*inputs, given], attributes, fused=[found.node])
            return
        extra = _sum_of_inputs(node, _along_inputs(node, exact, found.offset))
        constant = const_of(given)
        bias = add_constant(
            graph, (extra + (0.0 if constant is None else constant)).astype(weights.dtype), f"{node.name}.bias"
        )
        if node.op_type != "MatMul":
            replace_node(node, node.op_type, [*inputs, bias], attributes, fused=[found.node])
            return
        product = insert_node(node, "MatMul", inputs, name=node.name, types=[type_of(node.outputs[0])])
        replace_node(node, "Add", [product.outputs[0], bias], fused=[found.node])


def _input_axis(node: onnx_ir.Node) -> int:
    """The axis of the weights that runs over the input's channels (Conv: of one group)."""
    return 1 if node.op_type == "Conv" or attribute(node, "transB", 0) else 0


def _along_inputs(node: onnx_ir.Node, weights: Array, numbers: Array) -> Array:
    """Weights times one number per input channel."""
    if node.op_type == "Conv":
        group = attribute(node, "group", 1)
        per_group = weights.reshape(group, -1, *weights.shape[1:])
        shape = (group, 1, weights.shape[1], *[1] * (weights.ndim - 2))
        return (per_group * numbers.reshape(shape)).reshape(weights.shape)
    axis = _input_axis(node)
    return weights * numbers.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])


def _sum_of_inputs(node: onnx_ir.Node, products: Array) -> Array:
    """What an offset adds to every output channel."""
    if node.op_type == "Conv":
        return np.asarray(products.reshape(products.shape[0], -1).sum(axis=1))
    return np.asarray(products.sum(axis=_input_axis(node)) * attribute(node, "alpha", 1.0))


def _offset_misfit(node: onnx_ir.Node) -> str:
    """Why an offset of the input is no offset of the output, or an empty text."""
    if node.op_type == "ConvTranspose":
        return "pixels near the edge take in fewer inputs, so the offset would vary"
    if node.op_type == "Gemm" and len(node.inputs) > 2 and attribute(node, "beta", 1.0) != 1.0:
        return "the bias has a factor of its own"
    return "the padding would get the offset too" if node.op_type == "Conv" and _pads(node) else ""


def _pads(node: onnx_ir.Node) -> bool:
    auto = attribute(node, "auto_pad", "NOTSET")
    return auto not in ("NOTSET", "VALID") or any(attribute(node, "pads", ()))
