"""TopK.  ONNX operator TopK-24."""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import Dim, product
from magicmind.ir.types import TensorType
from magicmind.kernels.top_k import TopK
from magicmind.lower.lowering import Lowering
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank

top_k = Op("TopK")


def _count(node: NodeView, size: Dim) -> Dim:
    """How many elements are wanted: a number, or a size that follows from shapes."""
    found = node.dims(1)
    if not found:
        raise UnsupportedOperatorError("k (input 1) depends on run-time data; it must follow from shapes")
    if isinstance(found[0], int) and isinstance(size, int) and not 0 <= found[0] <= size:
        raise ShapeError(f"k is {found[0]}; the axis has {size} elements")
    return found[0]


@top_k.infer
def infer(node: NodeView) -> list[TensorType]:
    """Values and int64 positions, k of them along `axis`."""
    x = need_rank(node.input(0), 1)
    axis = node.axis(-1, x.rank)
    shape = (*x.dims[:axis], _count(node, x.dims[axis]), *x.dims[axis + 1 :])
    return [TensorType(x.dtype, shape), TensorType(onnx_ir.DataType.INT64, shape)]


@top_k.lower
def lower(low: Lowering, node: onnx_ir.Node) -> None:
    x, view = node.inputs[0], NodeView(node)
    assert x is not None
    shape = low.shape(x)
    axis = view.axis(-1, len(shape))
    p = low.params()
    spec = TopK(
        bool(view.attr("largest", 1)),
        low.dtype(x),
        p.size(product(shape[:axis])),
        p.size(shape[axis]),
        p.size(product(shape[axis + 1 :])),
        p.size(_count(view, shape[axis])),
    )
    values, positions = node.outputs
    memory = low.nbytes(x) + low.nbytes(values) + low.nbytes(positions)
    refs = [low.ref(x), low.ref(values), low.ref(positions)]
    low.call(node, spec, refs, p, outputs=2, flops=product(shape), bytes=memory)
