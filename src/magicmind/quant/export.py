"""A quantised graph as an ONNX model that other engines run.

It is the graph that `build` compiles: QuantizeLinear and DequantizeLinear around float operators, integer weights. For
engines that know nothing of ours, biases become int32 of scale input scale * weight scale (what their integer kernels
expect), and the few operators that ONNX has later or not at all are spelled out.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx_ir
from onnx_ir import DataType

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.attributes import attribute
from magicmind.ir.types import TensorType, const_of, type_of
from magicmind.modelfile.writer import replace_file
from magicmind.passes.edit import DOMAIN, add_constant, graph_of, insert_node, is_op, replace_node
from magicmind.passes.remove_dead import RemoveDead

_OPSET = 21
"""The first with QuantizeLinear of 16 bits; what the graph holds is no younger."""


def qdq_model(model: onnx_ir.Model) -> onnx_ir.Model:
    """The portable spelling of a quantised graph; a copy. Raises UnsupportedOperatorError for operators of ours."""
    copy = model.clone()
    for node in list(copy.graph):
        if is_op(node, "Swish"):
            _spell_swish(node)
        elif is_op(node, "L2Normalization", domain=DOMAIN):
            _spell_l2(node)
        elif is_op(node, "Conv", "ConvTranspose", "Gemm"):
            _quantise_bias(node)
    RemoveDead().call(copy)
    ours = sorted({f"{node.name} ({node.domain}.{node.op_type})" for node in copy.graph if node.domain == DOMAIN})
    if ours:
        raise UnsupportedOperatorError(f"no ONNX operators for {', '.join(ours)}")
    _make_names_distinct(copy.graph)
    copy.graph.opset_imports.pop(DOMAIN, None)
    copy.graph.opset_imports[""] = _OPSET
    return copy


def _make_names_distinct(graph: onnx_ir.Graph) -> None:
    """Nodes that one was split into have its name; onnxruntime takes every name once."""
    taken: set[str] = set()
    for node in graph:
        name, count = node.name or node.op_type, 1
        while name in taken:
            name, count = f"{node.name or node.op_type}.{count}", count + 1
        node.name = name
        taken.add(name)


def write_onnx(model: onnx_ir.Model, path: str | os.PathLike[str]) -> None:
    """Writes the model, replacing an older file in one step."""
    replace_file(Path(path), (onnx_ir.to_proto(model).SerializeToString(),))


def _spell_swish(node: onnx_ir.Node) -> None:
    """x * sigmoid(alpha x)."""
    x, alpha = node.inputs[0], attribute(node, "alpha", 1.0)
    assert x is not None
    inner = x
    if alpha != 1.0:
        factor = add_constant(graph_of(node), np.array(alpha, np.float32), f"{node.name}.alpha")
        inner = insert_node(node, "Mul", [x, factor], name=f"{node.name}.scaled", types=[type_of(x)]).outputs[0]
    sigmoid = insert_node(node, "Sigmoid", [inner], name=f"{node.name}.sigmoid", types=[type_of(x)])
    replace_node(node, "Mul", [x, sigmoid.outputs[0]])


def _spell_l2(node: onnx_ir.Node) -> None:
    """x / max(sqrt(sum of x^2), floor)."""
    x, graph = node.inputs[0], graph_of(node)
    axes = add_constant(graph, np.array([attribute(node, "axis", -1)]), f"{node.name}.axis")
    floor = add_constant(graph, np.array(attribute(node, "floor", 0.0), np.float32), f"{node.name}.floor")
    length = insert_node(node, "ReduceL2", [x, axes], {"keepdims": 1}, name=f"{node.name}.length")
    least = insert_node(node, "Max", [length.outputs[0], floor], name=f"{node.name}.least")
    replace_node(node, "Div", [x, least.outputs[0]])


def _quantise_bias(node: onnx_ir.Node) -> None:
    """The bias as int32, where data and weights are integers and it fits."""
    data, weights = (value.producer() if value is not None else None for value in node.inputs[:2])
    bias = const_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is None or bias.ndim != 1 or attribute(node, "beta", 1.0) != 1.0 or attribute(node, "alpha", 1.0) != 1.0:
        return
    if not (is_op(data, "DequantizeLinear") and is_op(weights, "DequantizeLinear")):
        return
    assert data is not None and weights is not None
    x_scale, w_scale = const_of(data.inputs[1]), const_of(weights.inputs[1])
    if x_scale is None or w_scale is None or w_scale.size not in (1, bias.size):
        return
    scale = np.broadcast_to(x_scale.astype(np.float64) * w_scale.astype(np.float64).reshape(-1), bias.shape)
    scale = scale.astype(np.float32)
    values = np.rint(bias / scale.astype(np.float64))
    if np.abs(values).max(initial=0.0) > np.iinfo(np.int32).max:
        return
    name, graph = f"{node.name}.bias.int32", graph_of(node)
    constants = [
        add_constant(graph, values.astype(np.int32), name),
        add_constant(graph, scale, f"{name}.scale"),
        add_constant(graph, np.zeros(bias.shape, np.int32), f"{name}.zero"),
    ]
    dq = insert_node(
        node, "DequantizeLinear", constants, {"axis": 0}, name=f"{name}.dequantize",
        types=[TensorType(DataType.FLOAT, bias.shape)],
    )  # fmt: skip
    node.replace_input_with(2, dq.outputs[0])
