"""MatMul and Gemm.  ONNX operators MatMul-13, Gemm-13."""

from __future__ import annotations

from magicmind.errors import ShapeError
from magicmind.ir.types import Shape, TensorType
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import broadcast, need_float, need_rank, need_same_dtype, same_dim

matmul = Op("MatMul")
gemm = Op("Gemm")


def product_shape(a: Shape, b: Shape) -> Shape:
    """The shape of `numpy.matmul`: vectors take part as a row on the left and a column on the right.

    Raises ShapeError for a scalar, for inner dims that differ and for batch dims that do not broadcast.
    """
    if not a or not b:
        raise ShapeError("a scalar cannot be multiplied as a matrix")
    rows, left = (a[-2:-1], a) if len(a) > 1 else ((), (1, *a))
    columns, right = (b[-1:], b) if len(b) > 1 else ((), (*b, 1))
    same_dim(left[-1], right[-2], "inner dimensions")
    batch = broadcast(left[:-2], right[:-2])
    return (*batch, *rows, *columns)


@matmul.infer
def infer_matmul(node: NodeView) -> list[TensorType]:
    """[..., M, K] times [..., K, N] gives [..., M, N]."""
    a, b = node.input(0), node.input(1)
    return [TensorType(need_same_dtype(a, b), product_shape(a.dims, b.dims))]


@gemm.infer
def infer_gemm(node: NodeView) -> list[TensorType]:
    """[M, K] times [K, N] (either may come transposed) plus C that broadcasts to [M, N]."""
    a, b = need_rank(need_float(node.input(0)), 2, 2, what="A"), need_rank(node.input(1), 2, 2, what="B")
    m, k = a.dims[::-1] if node.attr("transA", 0) else a.dims
    k2, n = b.dims[::-1] if node.attr("transB", 0) else b.dims
    same_dim(k, k2, "inner dimensions")
    dtype = need_same_dtype(a, b)
    if node.has(2):
        need_same_dtype(a, node.input(2))
        if broadcast((m, n), node.shape(2)) != (m, n):
            raise ShapeError("C is larger than the product")
    return [TensorType(dtype, (m, n))]
