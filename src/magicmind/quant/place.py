"""Puts QuantizeLinear and DequantizeLinear into the simplified graph, and integers in the place of weights.

A tensor that becomes integers is followed by a pair; what reads it, reads the pair's result, but for outputs of the
graph and products that stay floats, which see the tensor itself. Weights of integer products become a constant of int8
or int16 behind a DequantizeLinear with `axis`. Biases stay floats, corrected by what rounding the weights took.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir
from onnx_ir import DataType

from magicmind.errors import PrecisionError
from magicmind.ir.attributes import attribute
from magicmind.ir.types import TensorType, const_of, set_type, shape_of, type_of
from magicmind.passes.affine import per_channel
from magicmind.passes.edit import add_constant, insert_node, is_op, only_user
from magicmind.quant.kinds import activations, is_product, kind_of, weight_of
from magicmind.quant.places import Places, places_of
from magicmind.quant.precision import PrecisionPlan
from magicmind.quant.scales import TensorScale
from magicmind.quant.table import Scales
from magicmind.quant.weights import mean_error, output_axis, quantise_weights

Array = np.ndarray[Any, np.dtype[Any]]
ScaleOf = Callable[[onnx_ir.Value], TensorScale]


@dataclass(frozen=True)
class Placing:
    """How weights are quantised; `per_axis_of` is `per_axis` for some kinds of products."""

    per_axis: bool = True
    per_axis_of: Mapping[str, bool] = field(default_factory=dict)
    symmetric: bool = False
    bias_correction: bool = True


def place(model: onnx_ir.Model, plan: PrecisionPlan, scales: Scales, how: Placing) -> None:
    """Quantises the simplified graph in place. Raises PrecisionError for scales that do not fit it."""
    graph = model.graph
    for bits in (8, 16):
        places = places_of(graph, plan, bits)
        products = dict.fromkeys(node for node in graph if plan.bits(node) == bits)
        scales.require([value.name or "" for value in places.scaled], _names(graph))

        def scale_of(value: onnx_ir.Value, places: Places = places, bits: int = bits) -> TensorScale:
            return scales.of(places.roots[value].name or "", bits, how.symmetric)

        for node in products:  # first: the means and scales are those of the tensors they read now
            if weight_of(node) is not None:
                quantise_weights_of(node, scale_of, scales, bits, how)
        for value in places.roots:
            readers = [(node, i) for node, i in value.uses() if not is_product(node) or node in products]
            insert_pair(graph, value, scale_of(value), readers)


def _names(graph: onnx_ir.Graph) -> set[str]:
    values = (*graph.inputs, *(output for node in graph for output in node.outputs))
    return {value.name or "" for value in values}


def insert_pair(
    graph: onnx_ir.Graph,
    value: onnx_ir.Value,
    scale: TensorScale,
    readers: Sequence[tuple[onnx_ir.Node, int]],
    label: str = "",
) -> None:
    """A pair behind `value` that these uses of it read. `label` tells the pairs of one tensor apart."""
    if not readers:
        return
    type_ = type_of(value)
    assert type_ is not None
    name = f"{value.name}.{label or scale.dtype}"
    parameters = [
        add_constant(graph, np.array(scale.scale, np.float32), f"{name}.scale"),
        add_constant(graph, np.array(scale.zero, scale.dtype), f"{name}.zero"),
    ]
    integers = TensorType(DataType.UINT8 if scale.dtype == "uint8" else DataType.INT16, type_.shape)
    producer = value.producer()
    q = onnx_ir.Node("", "QuantizeLinear", [value, *parameters], name=f"{name}.quantize")
    dq = onnx_ir.Node("", "DequantizeLinear", [q.outputs[0], *parameters], name=f"{name}.dequantize")
    set_type(q.outputs[0], integers)
    set_type(dq.outputs[0], type_)
    q.outputs[0].name, dq.outputs[0].name = f"{name}.quantized", f"{name}.dequantized"
    if producer is None:
        graph.insert_before(graph[0], [q, dq])
    else:
        graph.insert_after(producer, [q, dq])
    for node, index in readers:
        node.replace_input_with(index, dq.outputs[0])


def quantise_weights_of(node: onnx_ir.Node, scale_of: ScaleOf, scales: Scales, bits: int, how: Placing) -> None:
    """The constant factor of a product as integers behind a DequantizeLinear, its bias corrected."""
    weight = weight_of(node)
    weights = None if weight is None else const_of(weight)
    graph = node.graph
    assert weight is not None and weights is not None and isinstance(graph, onnx_ir.Graph)
    (source,) = activations(node)
    axis = output_axis(node, weights.ndim)
    per_axis = how.per_axis_of.get(kind_of(node), how.per_axis) and weights.ndim > 1
    bias = const_of(node.inputs[2]) if len(node.inputs) > 2 else None
    try:
        quantised = quantise_weights(
            weights, axis, bits=bits, per_axis=per_axis, bias=bias, input_scale=scale_of(source).scale
        )
    except ValueError as error:
        raise PrecisionError(f"the weights of {node.name} contain {error}") from error
    if how.bias_correction:
        lost = mean_error(node, quantised, scales.means.get(source.name or ""))
        if lost is not None:
            _add_to_bias(node, lost)
    name = f"{weight.name}.int{bits}"
    values = [
        add_constant(graph, quantised.values, name),
        add_constant(graph, quantised.scale, f"{name}.scale"),
        add_constant(graph, np.zeros(quantised.scale.shape, quantised.values.dtype), f"{name}.zero"),
    ]
    dq = insert_node(
        node, "DequantizeLinear", values, {"axis": axis if per_axis else None}, name=f"{name}.dequantize",
        types=[TensorType(DataType.FLOAT, weights.shape)],
    )  # fmt: skip
    node.replace_input_with(1, dq.outputs[0])


def _add_to_bias(node: onnx_ir.Node, offset: Array) -> None:
    """Adds one number per output channel: to the bias, or to the constant that is added behind a MatMul."""
    if is_op(node, "MatMul"):
        after = only_user(node.outputs[0])
        if after is not None and is_op(after, "Add") and shape_of(after.outputs[0]) == shape_of(node.outputs[0]):
            _add_to_input(after, 1 if after.inputs[0] is node.outputs[0] else 0, offset, node)
        return
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        _add_to_input(node, 2, offset / (attribute(node, "beta", 1.0) or 1.0), node)
        return
    graph = node.graph
    assert isinstance(graph, onnx_ir.Graph)
    node.resize_inputs(3)
    node.replace_input_with(2, add_constant(graph, offset.astype(np.float32), f"{node.name}.correction"))


def _add_to_input(node: onnx_ir.Node, index: int, offset: Array, product: onnx_ir.Node) -> None:
    """Leaves a bias alone that is computed, or is not one number per channel."""
    value = node.inputs[index]
    bias, graph = const_of(value), node.graph
    if value is None or bias is None or not isinstance(graph, onnx_ir.Graph):
        return
    numbers = per_channel(bias, bias.ndim - 1 if bias.ndim else 0, max(bias.ndim, 1), offset.size)
    if numbers is None:
        return
    corrected = (numbers + offset).astype(bias.dtype)
    node.replace_input_with(index, add_constant(graph, corrected, f"{product.name}.bias"))
