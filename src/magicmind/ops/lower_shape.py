"""Lowering of Shape, Size, Constant, ConstantOfShape, Range where type inference could not fold them away."""

from __future__ import annotations

import onnx_ir as ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.ir.types import constant_array
from magicmind.kernels.sizes import Ramp, WriteSizes
from magicmind.lower.lowering import Lowering
from magicmind.ops import shape
from magicmind.ops.copying import Axis, call_copy
from magicmind.ops.registry import NodeView


def _write(low: Lowering, node: ir.Node, dims: list[Dim]) -> None:
    p = low.params()
    low.call(node, WriteSizes(tuple(p.size(d) for d in dims)), [low.ref(node.outputs[0])], p, bytes=8 * len(dims))


@shape.shape.lower
def lower_shape(low: Lowering, node: ir.Node) -> None:
    _write(low, node, shape.kept_dims(NodeView(node)))


@shape.size.lower
def lower_size(low: Lowering, node: ir.Node) -> None:
    x = node.inputs[0]
    assert x is not None
    _write(low, node, [product(low.shape(x))])


@shape.constant.lower
def lower_constant(low: Lowering, node: ir.Node) -> None:
    out = node.outputs[0]
    array = constant_array(node)
    assert array is not None
    source = low.weight(array)
    if not low.alias(out, source):
        call_copy(low, node, [Axis(array.size, 1, 1)], source, low.ref(out), low.dtype(out))


@shape.constant_of_shape.lower
def lower_constant_of_shape(low: Lowering, node: ir.Node) -> None:
    out = node.outputs[0]
    source = low.weight(shape.fill_value(NodeView(node)))
    call_copy(low, node, [Axis(product(low.shape(out)), 0, 1)], source, low.ref(out), low.dtype(out))


@shape.range_.lower
def lower_range(low: Lowering, node: ir.Node) -> None:
    start, _, delta = node.inputs
    out = node.outputs[0]
    assert start is not None and delta is not None
    if low.dtype(out) not in ("f32", "f64", "i32", "i64", "i16"):
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: {low.dtype(out)} has no kernel")
    p = low.params()
    spec = Ramp(p.size(low.shape(out)[0]), low.dtype(out))
    low.call(node, spec, [low.ref(start), low.ref(delta), low.ref(out)], p, bytes=low.nbytes(out))
