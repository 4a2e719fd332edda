"""Matrix products."""

from __future__ import annotations

import onnx_ir

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.importers.convolution import weights
from magicmind.ops.emitter import Value

_INT32 = onnx_ir.DataType.INT32
_BYTES = (onnx_ir.DataType.INT8, onnx_ir.DataType.UINT8)


def _side(c: Call, i: int, turned: bool) -> Value:
    rank = c.rank(i)
    return weights(c, i, [*range(rank - 2), rank - 1, rank - 2]) if turned else c.value(i)


@importer("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def matmul(c: Call) -> Value:
    """MatMul, or Gemm for matrices that are to be transposed; of bytes MatMulInteger."""
    flags = [
        bool(c.attr(a, False) or c.attr(b, False)) for a, b in (("transpose_a", "adj_x"), ("transpose_b", "adj_y"))
    ]
    if c.rank() == 2 and c.rank(1) == 2 and flags[0]:
        return c.net.op("Gemm", c.x, c.value(1), transA=int(flags[0]), transB=int(flags[1]))
    sides = [_side(c, i, flag) for i, flag in enumerate(flags)]
    wanted = c.node.dtype("Tout") if c.node.has("Tout") else c.net.type(c.x).dtype
    if wanted == _INT32 and all(c.net.type(side).dtype in _BYTES for side in sides):
        return c.net.op("MatMulInteger", *sides)
    if wanted.itemsize > c.net.type(c.x).dtype.itemsize:  # sums would not fit the type of the factors
        sides = [c.net.cast(side, wanted) for side in sides]
    return c.net.cast(c.net.op("MatMul", *sides), wanted)


@importer("_FusedMatMul")
def fused_matmul(c: Call) -> Value:
    """MatMul with a bias and an activation, as TensorFlow's own optimiser leaves it."""
    y = matmul(c)
    for step in c.attr("fused_ops", []):
        if step == "BiasAdd":
            y = c.net.op("Add", y, c.value(2))
        elif step in ("Relu", "Tanh", "Sigmoid", "Elu"):
            y = c.net.op(step, y)
        else:
            raise c.unsupported(f"a product with {step}")
    return y


@importer("Einsum")
def einsum(c: Call) -> Value:
    """Einsum."""
    return c.net.op("Einsum", *c.values, equation=str(c.attr("equation")))
