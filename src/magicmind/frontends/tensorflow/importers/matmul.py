"""Matrix products."""

from __future__ import annotations

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.importers.convolution import weights
from magicmind.ops.emitter import Value


def _side(c: Call, i: int, turned: bool) -> Value:
    rank = c.rank(i)
    return weights(c, i, [*range(rank - 2), rank - 1, rank - 2]) if turned else c.value(i)


@importer("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def matmul(c: Call) -> Value:
    """MatMul, or Gemm for matrices that are to be transposed."""
    flags = [
        bool(c.attr(a, False) or c.attr(b, False)) for a, b in (("transpose_a", "adj_x"), ("transpose_b", "adj_y"))
    ]
    if c.rank() == 2 and c.rank(1) == 2 and flags[0]:
        return c.net.op("Gemm", c.x, c.value(1), transA=int(flags[0]), transB=int(flags[1]))
    y = c.net.op("MatMul", _side(c, 0, flags[0]), _side(c, 1, flags[1]))
    return c.net.cast(y, c.node.dtype("Tout")) if c.node.has("Tout") else y


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
