"""magicmind.Sizes: integers that follow from the shapes of the graph's inputs.

What is left of Shape, Gather, Concat and arithmetic between them once inference knows the result (`passes/read_sizes`).
Inputs: those whose dims bring in the symbols; their elements are not read. Attribute `dims`: one text for each
element; `scalar`: whether the output is a scalar rather than a vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from magicmind.ir.dims import Dim, evaluate, parse
from magicmind.ir.types import TensorType, shape_of
from magicmind.kernels.sizes import WriteSizes
from magicmind.lower.lowering import Lowering
from magicmind.ops.registry import Array, NodeView, Op

sizes = Op("Sizes", "magicmind")


def dims_of(node: onnx_ir.Node) -> list[Dim]:
    """The elements."""
    return [parse(text) for text in node.attributes["dims"].as_strings()]


@sizes.infer
def infer(node: NodeView) -> list[TensorType]:
    """int64, a vector or a scalar."""
    shape = () if node.attr("scalar", 0) else (len(dims_of(node.node)),)
    return [TensorType(onnx_ir.DataType.INT64, shape)]


@sizes.data
def data(node: NodeView) -> list[Array | None]:
    """All elements."""
    (t,) = infer(node)
    found = np.empty(len(dims_of(node.node)), object)
    found[:] = dims_of(node.node)
    return [found.reshape([int(str(d)) for d in t.dims])]


@sizes.reference
def reference(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """The symbols take the values that the arrays' shapes give them."""
    values: dict[str, int] = {}
    for value, array in zip(node.inputs, arrays, strict=True):
        shape = None if value is None else shape_of(value)
        assert shape is not None and array is not None
        values |= {str(d): n for d, n in zip(shape, array.shape, strict=True) if not isinstance(d, int)}
    found = np.array([evaluate(d, values) for d in dims_of(node)], np.int64)
    return [found.reshape(()) if NodeView(node).attr("scalar", 0) else found]


@sizes.lower
def lower(low: Lowering, node: onnx_ir.Node) -> None:
    p = low.params()
    spec = WriteSizes(tuple(p.size(d) for d in dims_of(node)))
    low.call(node, spec, [low.ref(node.outputs[0])], p, bytes=8 * len(spec.values))
