"""Moves the stride of pointwise convolutions to the layer before: pixels nobody reads are not computed.

A 1x1 convolution with stride s reads every s-th pixel. When all readers of a tensor do so, the convolution that makes
it may compute those pixels only: its own stride grows by s, the readers' becomes 1. Residual operands are thinned out
alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir

from magicmind.ir.dims import Dim
from magicmind.ir.types import TensorType, const_of, dtype_of, set_type, shape_of
from magicmind.passes.edit import DOMAIN, attribute, insert_node, is_op
from magicmind.passes.infra import Decline, Rewrite

Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class _Hoist:
    producer: onnx_ir.Node
    readers: tuple[onnx_ir.Node, ...]
    strides: list[int]


class HoistStrides(Rewrite[_Hoist]):
    """Conv then only 1x1 Conv with stride s: the first takes the stride, the others have stride 1."""

    roots = frozenset({f"{DOMAIN}.Conv"})

    def match(self, node: onnx_ir.Node) -> _Hoist | Decline:
        strides = _pointwise_strides(node)
        if strides is None:
            return Decline("not a pointwise convolution with a stride")
        x = node.inputs[0]
        producer = x.producer() if x is not None else None
        if x is None or producer is None or not is_op(producer, "Conv", domain=DOMAIN):
            return Decline("its input does not come from a convolution")
        if x.is_graph_output():
            return Decline("its input is an output of the graph")
        readers = {use.node for use in x.uses()}
        if any(_pointwise_strides(r) != strides for r in readers) or any(use.idx != 0 for use in x.uses()):
            return Decline("its input has readers that need the other pixels")
        if any(_full_size(producer, value) is None for value in producer.inputs[3:]):
            return Decline("an operand of the convolution before cannot be thinned out")
        return _Hoist(producer, tuple(readers), strides)

    def rewrite(self, node: onnx_ir.Node, found: _Hoist) -> None:
        producer, strides = found.producer, found.strides
        output = producer.outputs[0]
        shape, dtype = shape_of(output), dtype_of(output)
        assert shape is not None and dtype is not None
        thin = (*shape[:2], *((d - 1) // s + 1 for d, s in zip(shape[2:], strides, strict=True)))
        for i, value in enumerate(producer.inputs[3:], 3):
            if value is not None and _full_size(producer, value):
                producer.replace_input_with(i, _thinned(producer, value, strides, TensorType(dtype, thin)))
        own = attribute(producer, "strides", [1] * len(strides))
        _set_ints(producer, "strides", [a * b for a, b in zip(own, strides, strict=True)])
        set_type(output, TensorType(dtype, thin))
        for reader in found.readers:
            _set_ints(reader, "strides", [1] * len(strides))


def _pointwise_strides(node: onnx_ir.Node) -> list[int] | None:
    """The strides of a 1x1 convolution without padding that has any above one."""
    if not is_op(node, "Conv", domain=DOMAIN):
        return None
    weights = node.inputs[1]
    shape = shape_of(weights) if weights is not None else None
    strides = list(attribute(node, "strides", []))
    if shape is None or any(d != 1 for d in shape[2:]) or any(attribute(node, "pads", [])):
        return None
    return strides if any(s > 1 for s in strides) else None


def _full_size(node: onnx_ir.Node, value: onnx_ir.Value | None) -> bool | None:
    """Whether an operand has the size of the result (False: it broadcasts over pixels; None: neither)."""
    shape, out = shape_of(value) if value is not None else None, shape_of(node.outputs[0])
    if shape is None or out is None:
        return None
    if shape == out and const_of(value) is None:
        return True
    spatial = shape[-(len(out) - 2) :] if len(shape) >= len(out) - 2 else shape
    return False if all(d == 1 for d in spatial) else None


def _thinned(before: onnx_ir.Node, value: onnx_ir.Value, strides: list[int], after: TensorType) -> onnx_ir.Value:
    """Every s-th pixel: a maximum over windows of one."""
    attributes = {"kernel_shape": [1] * len(strides), "strides": strides}
    name = f"{before.name}.thin"
    return insert_node(before, "MaxPool", [value], attributes, name=name, types=[after]).outputs[0]


def _set_ints(node: onnx_ir.Node, name: str, values: list[int]) -> None:
    node.attributes[name] = onnx_ir.AttrInt64s(name, values)
