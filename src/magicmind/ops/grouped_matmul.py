"""GroupedMatMul(x, weights, ends): products of runs of rows with a matrix each, as experts of a mixture compute.

x [S, K], weights [E, K, N], ends [E] whole numbers; rows ends[e - 1] to ends[e] of the result [S, N] are those of x
times weights[e], and rows that belong to no run are 0. Our own operator (domain `magicmind`): PyTorch's `_grouped_mm`.
Where the runs end only the data tells, so it is a host step.
"""

from __future__ import annotations

from magicmind.ir.types import TensorType
from magicmind.ops.fused import DOMAIN
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank, same_dim

grouped_matmul = Op("GroupedMatMul", DOMAIN).host()


@grouped_matmul.infer
def infer(node: NodeView) -> list[TensorType]:
    """[S, N] of x's dtype."""
    x, weights = need_rank(node.input(0), 2, 2, "x"), need_rank(node.input(1), 3, 3, "the weights")
    ends = need_rank(node.input(2), 1, 1, "the ends of the runs")
    same_dim(x.dims[1], weights.dims[1], "the length of a row")
    same_dim(ends.dims[0], weights.dims[0], "the runs")
    return [TensorType(x.dtype, (x.dims[0], weights.dims[2]))]
