"""Replaces nodes whose result is known now by initializers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.types import const_of, type_of
from magicmind.ops.reference import run_node
from magicmind.ops.registry import data_of
from magicmind.passes.determinism import is_deterministic
from magicmind.passes.edit import add_constant, graph_of, graphs_of
from magicmind.passes.infra import Decline, Pass

Array = npt.NDArray[np.generic]

# An Expand, Tile or ConstantOfShape may be far larger than what it is made from: beyond this the run time does it.
MAX_GROWTH_BYTES = 1 << 20

_INTEGERS = ("UINT8", "INT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64")


class FoldConstants(Pass):
    """Computes nodes with constant inputs, and integer tensors (such as shapes) that inference knows in full."""

    def __init__(self) -> None:
        self.declined: dict[str, str] = {}

    def call(self, model: onnx_ir.Model) -> bool:
        self.declined = {}
        modified = False
        for graph in list(graphs_of(model)):
            for node in list(graph):
                modified |= self._fold(model, node)
        return modified

    def _fold(self, model: onnx_ir.Model, node: onnx_ir.Node) -> bool:
        if any(output.is_graph_output() and not _is_main(model, node) for output in node.outputs):
            return False
        results = known_results(node)
        if results is None:
            if node.op_type != "Constant" and not all(v is None or const_of(v) is not None for v in node.inputs):
                return False
            reason = reason_against(node)
            if reason:
                self.declined[node.name or ""] = reason.reason
                return False
            try:
                results = compute(model, node)
            except UnsupportedOperatorError as error:  # kernels may do what the reference cannot
                self.declined[node.name or ""] = str(error)
                return False
        if any(output.is_graph_output() for output in node.outputs):
            return False  # an initializer cannot be an output; computing it at run time costs little
        for output, result in zip(node.outputs, results, strict=True):
            if output.uses():
                name, output.name = output.name or f"{node.name}.folded", None
                output.replace_all_uses_with(add_constant(graph_of(node), result, name, inherit=True))
        graph_of(node).remove(node, safe=True)
        return True


def _is_main(model: onnx_ir.Model, node: onnx_ir.Node) -> bool:
    return node.graph is model.graph


def known_results(node: onnx_ir.Node) -> list[Array] | None:
    """What type inference knows of integer outputs, when that is all of every output."""
    found = []
    for output in node.outputs:
        data, type_ = data_of(output), type_of(output)
        if data is None or type_ is None or type_.dtype.name not in _INTEGERS:
            return None
        if not all(isinstance(dim, int) for dim in data.flat):
            return None
        found.append(data.astype(type_.dtype.numpy()))
    return found or None


def reason_against(node: onnx_ir.Node) -> Decline | None:
    """Why a node with constant inputs is computed at run time all the same."""
    if not is_deterministic(node):
        return Decline("the result is random, or made by a nested graph")
    if not all(_is_numeric(output) for output in node.outputs if output.name):
        return Decline("the result is no tensor of numbers")
    if node.op_type == "DequantizeLinear":
        return Decline("quantised weights stay quantised")
    inputs = sum(constant.nbytes for constant in map(const_of, node.inputs) if constant is not None)
    size = sum(map(_bytes, node.outputs))
    if size > 4 * inputs + MAX_GROWTH_BYTES:  # bytes become floats: quantised weights
        return Decline(f"the result would take {size} bytes instead of {inputs}")
    return None


def _is_numeric(value: onnx_ir.Value) -> bool:
    return isinstance(value.type, onnx_ir.TensorType) and value.dtype not in (None, onnx_ir.DataType.STRING)


def _bytes(value: onnx_ir.Value) -> int:
    type_ = type_of(value)
    return (type_.nbytes if type_ is not None else None) or 0


def compute(model: onnx_ir.Model, node: onnx_ir.Node) -> list[Array]:
    """The node's results by the reference."""
    return run_node(node, [const_of(value) for value in node.inputs])
