"""What is left of QuantizeLinear and DequantizeLinear becomes elementwise programs, or constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.types import TensorType, shape_of
from magicmind.passes.edit import DOMAIN, add_constant, graph_of, insert_node, is_op, replace_node
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.quantised import Parameters, dequantised_constant, parameters_of

Array = npt.NDArray[Any]

_TAKES_FLOATS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN", "Add", "BatchNormalization")
"""Operators whose constants have to be numbers that kernels can be built from."""


class FoldDequantise(Rewrite[Array]):
    """The dequantised weights of a product that is done in floats become floats."""

    roots = frozenset({"DequantizeLinear"})

    def match(self, node: onnx_ir.Node) -> Array | Decline:
        found = dequantised_constant(node.outputs[0])
        if found is None:
            return Decline("it dequantises no constant")
        if not any(is_op(use.node, *_TAKES_FLOATS) for use in node.outputs[0].uses()):
            return Decline("no product reads it")
        if node.outputs[0].is_graph_output():
            return Decline("it is a result")
        array, parameters = found
        zero, scale = (_broadcast(p, parameters, array.ndim) for p in (parameters.zero, parameters.scale))
        return np.asarray((array.astype(np.float32) - zero.astype(np.float32)) * scale)

    def rewrite(self, node: onnx_ir.Node, found: Array) -> None:
        output = node.outputs[0]
        name, output.name = output.name or f"{node.name}.folded", None
        output.replace_all_uses_with(add_constant(graph_of(node), found, name, inherit=True))
        graph_of(node).remove(node, safe=True)


def _aligned(parameters: Parameters, rank: int) -> tuple[int, ...]:
    """The shape in which per-axis parameters broadcast."""
    return tuple(-1 if i == parameters.axis % max(rank, 1) else 1 for i in range(rank))


def _broadcast(numbers: Array, parameters: Parameters, rank: int) -> Array:
    """One number, or one per index of the axis, for a tensor of `rank` axes."""
    return numbers.reshape(() if numbers.size == 1 else _aligned(parameters, rank))


class QuantiseToElementwise(Rewrite[Parameters]):
    """QuantizeLinear and DequantizeLinear become magicmind.Elementwise, one for every reader."""

    roots = frozenset({"QuantizeLinear", "DequantizeLinear"})

    def match(self, node: onnx_ir.Node) -> Parameters | Decline:
        found = parameters_of(node)
        if found is None or shape_of(node.outputs[0]) is None:
            return Decline("its parameters or its rank are not known")
        return found

    def rewrite(self, node: onnx_ir.Node, found: Parameters) -> None:
        program, operands = _program(node, found)
        attributes = {"program": program}
        if is_op(node, "DequantizeLinear"):
            _apart(node, attributes, operands)
        replace_node(node, "Elementwise", operands, attributes, domain=DOMAIN)


def _program(node: onnx_ir.Node, found: Parameters) -> tuple[list[str], list[onnx_ir.Value | None]]:
    rank = len(shape_of(node.outputs[0]) or ())
    operands: list[onnx_ir.Value | None] = [node.inputs[0]]

    def number(values: Array, what: str) -> str:
        if values.size == 1:
            return repr(float(values.flat[0]))
        shaped = values.astype(np.float32).reshape(_aligned(found, rank))
        operands.append(add_constant(graph_of(node), shaped, f"{node.name}.{what}"))
        return f"x{len(operands) - 1}"

    scale = number(found.scale, "scale")
    if is_op(node, "QuantizeLinear"):
        return [f"t0 = Div(x0, {scale})", f"t1 = Quantise(t0, {int(found.zero[0])}, {found.dtype.name})"], operands
    zero = number(found.zero, "zero")
    return ["t0 = Cast(x0, FLOAT)", f"t1 = Sub(t0, {zero})", f"t2 = Mul(t1, {scale})"], operands


def _apart(node: onnx_ir.Node, attributes: dict[str, list[str]], operands: list[onnx_ir.Value | None]) -> None:
    """Every reader but the first gets a node of its own: it costs less than a tensor of floats, and fuses."""
    output = node.outputs[0]
    if output.is_graph_output():
        return
    for number, use in enumerate(list(output.uses())[1:]):
        types = [TensorType(DataType.FLOAT, shape_of(output))]
        copy = insert_node(
            node, "Elementwise", operands, attributes, domain=DOMAIN, name=f"{node.name}.{number + 1}", types=types
        )
        copy.outputs[0].name = f"{output.name}.{number + 1}"
        use.node.replace_input_with(use.idx, copy.outputs[0])
