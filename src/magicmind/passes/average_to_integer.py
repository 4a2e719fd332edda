"""An average between dequantised numbers and QuantizeLinear becomes an average of bytes (`ops/pool.py`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.types import const_of, shape_of
from magicmind.passes.edit import attribute, is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.quantised import Dequantised, Parameters, dequantised, parameters_of

_AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean")


@dataclass(frozen=True)
class Average:
    """The averaging node, what it reads, and how its result is quantised."""

    node: onnx_ir.Node
    x: Dequantised
    y: Parameters


class AverageToInteger(Rewrite[Average]):
    """QuantizeLinear(AveragePool(DequantizeLinear(q))) becomes AveragePool(q) with the scales as attributes."""

    roots = frozenset({"QuantizeLinear"})

    def match(self, node: onnx_ir.Node) -> Average | Decline:
        value = node.inputs[0]
        average = None if value is None else value.producer()
        if value is None or average is None or not is_op(average, *_AVERAGES):
            return Decline("it quantises no average")
        if only_user(value) is None:
            return Decline("the average is used as a float, too")
        x, y = dequantised(average.inputs[0]), parameters_of(node)
        if x is None or y is None:
            return Decline("the average is of floats")
        bytes_only = x.parameters.dtype == y.dtype == DataType.UINT8
        if not (bytes_only and x.parameters.per_tensor and y.per_tensor):
            return Decline("it is no average of bytes with one scale")
        if is_op(average, "ReduceMean") and not _reduces_last_axes(average):
            return Decline("it reduces other axes than the last ones")
        return Average(average, x, y)

    def rewrite(self, node: onnx_ir.Node, found: Average) -> None:
        scale = float(np.float32(float(found.x.parameters.scale[0]) / float(found.y.scale[0])))
        attributes = {a.name: a.value for a in found.node.attributes.values()}
        attributes |= {"scale": scale, "x_zero": int(found.x.parameters.zero[0]), "y_zero": int(found.y.zero[0])}
        inputs = [found.x.q, *found.node.inputs[1:]]
        replace_node(node, found.node.op_type, inputs, attributes, name=found.node.name, fused=[found.node])


def _reduces_last_axes(node: onnx_ir.Node) -> bool:
    shape = shape_of(node.inputs[0])  # type: ignore[arg-type]
    given = const_of(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "axes")
    if shape is None or given is None:
        return False
    axes = sorted(int(a) % len(shape) for a in np.ravel(given))
    return bool(axes) and axes == list(range(len(shape) - len(axes), len(shape)))
