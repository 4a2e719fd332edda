"""Signed bytes between QuantizeLinear and DequantizeLinear become unsigned ones: products read uint8.

q + 128 with zero point z + 128 is the same number, and operators that move or select elements do not notice.
"""

from __future__ import annotations

import numpy as np
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.types import TensorType, const_of, dtype_of, set_type, type_of
from magicmind.passes.edit import add_constant, graph_of, is_op
from magicmind.passes.infra import Pass
from magicmind.passes.move_dequantise import MOVES, data_inputs

_SHIFT = 128


class ShiftToUnsigned(Pass):
    """Quantised int8 values that begin and end inside the graph become uint8."""

    def call(self, model: onnx_ir.Model) -> bool:
        done: set[onnx_ir.Value] = set()
        modified = False
        for node in list(model.graph):
            value = node.outputs[0] if is_op(node, "QuantizeLinear") else None
            if value is None or value in done or dtype_of(value) != DataType.INT8:
                continue
            group = _group(value)
            done |= group
            if all(_is_closed(v, group) for v in group):
                _shift(group)
                modified = True
        return modified


def _group(start: onnx_ir.Value) -> set[onnx_ir.Value]:
    """The int8 values that moving operators connect with `start`: their dtype is one choice."""
    group, waiting = {start}, [start]
    while waiting:
        value = waiting.pop()
        near: list[onnx_ir.Value | None] = []
        for use in value.uses():
            if is_op(use.node, *MOVES):
                near += [*use.node.outputs, *data_inputs(use.node)]
        producer = value.producer()
        if is_op(producer, *MOVES) and producer is not None:
            near += [*producer.outputs, *data_inputs(producer)]
        new = {v for v in near if v is not None and dtype_of(v) == DataType.INT8} - group
        group |= new
        waiting += new
    return group


def _is_closed(value: onnx_ir.Value, group: set[onnx_ir.Value]) -> bool:
    """Whether all that makes and reads the value is known to allow the shift."""
    producer = value.producer()
    if value.is_graph_output() or producer is None or not is_op(producer, "QuantizeLinear", *MOVES):
        return False
    if is_op(producer, "Pad") or any(is_op(use.node, "Pad") for use in value.uses()):
        return False
    return all(
        is_op(use.node, "DequantizeLinear")
        or (is_op(use.node, *MOVES) and value in data_inputs(use.node) and use.node.outputs[0] in group)
        for use in value.uses()
    )


def _shift(group: set[onnx_ir.Value]) -> None:
    for value in group:
        found = type_of(value)
        assert found is not None
        set_type(value, TensorType(DataType.UINT8, found.shape))
        producer = value.producer()
        touched = [use.node for use in value.uses() if is_op(use.node, "DequantizeLinear")]
        touched += [producer] if producer is not None and is_op(producer, "QuantizeLinear") else []
        for node in touched:
            _shift_zero(node)


def _shift_zero(node: onnx_ir.Node) -> None:
    scale, zero = const_of(node.inputs[1]), const_of(node.inputs[2]) if len(node.inputs) > 2 else None
    assert scale is not None
    old = np.zeros(scale.shape, np.int32) if zero is None else zero.astype(np.int32)
    new = add_constant(graph_of(node), (old + _SHIFT).astype(np.uint8), f"{node.name}.zero")
    inputs = [*node.inputs[:2], new]
    if len(node.inputs) > 2:
        node.replace_input_with(2, new)
        return
    node.resize_inputs(len(inputs))
    node.replace_input_with(2, new)
    node.attributes.pop("output_dtype", None)
