"""magicmind.ExactMatMul, and how ONNX's MatMul and Gemm reach it: products of integers and of float64.

float16 is multiplied in float32. Batch dims that broadcast inside of others are written out.
"""

from __future__ import annotations

import onnx_ir
from onnx_ir import DataType

from magicmind.ir.dims import Dim, product
from magicmind.kernels.exact_matmul import ExactMatMul
from magicmind.lower.lowering import Lowering
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.matmul import gemm, infer_matmul, matmul, product_shape
from magicmind.ops.registry import Op

HALVES = (DataType.FLOAT16, DataType.BFLOAT16)

exact = Op("ExactMatMul", "magicmind")


exact.infer(infer_matmul)  # of operands of rank 2 or more


@exact.lower
def lower(low: Lowering, node: onnx_ir.Node) -> None:
    a, b = node.inputs
    out = node.outputs[0]
    assert a is not None and b is not None
    (m, k), n = low.shape(a)[-2:], low.shape(b)[-1]
    a_lead, b_lead = product(low.shape(a)[:-2]), product(low.shape(b)[:-2])
    batch = product(low.shape(out)[:-2])
    p = low.params()
    spec = ExactMatMul(
        low.dtype(out), p.size(batch), p.size(m), p.size(n), p.size(k), a_lead != 1 or batch == 1, b_lead != 1
    )
    refs = [low.ref(a), low.ref(b), low.ref(out)]
    memory = low.nbytes(a) + low.nbytes(b) + low.nbytes(out)
    low.call(node, spec, refs, p, flops=batch * m * n * k * 2, bytes=memory)


def multiply(e: Expansion, a: Value, b: Value) -> Value:
    """a @ b, exact in their dtype."""
    rows, columns = e.rank(a) == 1, e.rank(b) == 1
    a, b = e.unsqueeze(a, 0) if rows else a, e.unsqueeze(b, 1) if columns else b
    a, b = same_batch(e, a, b)
    result = e.op("ExactMatMul", a, b, domain="magicmind")
    axes = [e.rank(result) - 2] if rows else []
    axes += [e.rank(result) - 1] if columns else []
    return e.squeeze(result, *axes) if axes else result


def same_batch(e: Expansion, a: Value, b: Value) -> tuple[Value, Value]:
    """Both with the same batch dims, or one of them with one matrix for all."""
    full = product_shape(e.shape(a), e.shape(b))[:-2]
    if not _broadcasts_inside(e.shape(a)[:-2], full) and not _broadcasts_inside(e.shape(b)[:-2], full):
        return a, b
    ones = e.const([1] * (len(full) + 2), "int64")
    leads = [e.op("Shape", e.op("Expand", v, ones), end=-2) for v in (a, b)]
    lead = e.op("Max", *leads)
    return tuple(e.op("Expand", v, e.sizes(lead, e.dim(v, -2), e.dim(v, -1))) for v in (a, b))  # type: ignore[return-value]


def _broadcasts_inside(lead: tuple[Dim, ...], full: tuple[Dim, ...]) -> bool:
    """Whether some, but not all, of the batch dims repeat."""
    return product(lead) != 1 and product(lead) != product(full)


@matmul.expand
def expand_matmul(e: Expansion) -> list[Value] | None:
    """Only what the float32 kernel does not take."""
    a, b = e.input(0), e.input(1)
    dtype = e.type(a).dtype
    if dtype in HALVES:
        wide = e.op("MatMul", e.cast(a, DataType.FLOAT), e.cast(b, DataType.FLOAT))
        return [e.cast(wide, dtype)]
    if dtype != DataType.FLOAT:
        return [multiply(e, a, b)]
    left, right = same_batch(e, a, b) if e.rank(a) > 2 and e.rank(b) > 2 else (a, b)
    return None if (left, right) == (a, b) else [e.op("MatMul", left, right)]


@gemm.expand
def expand_gemm(e: Expansion) -> list[Value] | None:
    """A product, scaled, and an addition, where the dtype is not float32."""
    a, b = e.input(0), e.input(1)
    if e.type(a).dtype == DataType.FLOAT:
        return None
    a = e.op("Transpose", a, perm=[1, 0]) if e.view.attr("transA", 0) else a
    b = e.op("Transpose", b, perm=[1, 0]) if e.view.attr("transB", 0) else b
    result = e.op("MatMul", a, b)
    alpha, beta = e.view.attr("alpha", 1.0), e.view.attr("beta", 1.0)
    if alpha != 1:
        result = e.op("Mul", result, e.scalar(alpha, result))
    if e.has(2) and beta != 0:
        c = e.input(2)
        result = e.op("Add", result, c if beta == 1 else e.op("Mul", c, e.scalar(beta, c)))
    return [result]
