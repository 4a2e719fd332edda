"""CumSum and CumProd.  ONNX operators CumSum-14, CumProd-26.

Along an axis computed at run time they are host steps.
"""

from __future__ import annotations

import onnx_ir

from magicmind.ir.dims import product
from magicmind.ir.types import TensorType
from magicmind.kernels.scan import Scan
from magicmind.lower.lowering import Lowering
from magicmind.ops.registry import NodeView, Op, normalise_axis

cum_sum = Op("CumSum").host()
cum_prod = Op("CumProd").host()


def _axis(node: NodeView, rank: int) -> int:
    if rank == 1:
        return 0  # whatever the axis turns out to be
    return normalise_axis(node.need_ints(1, "axis")[0], rank)


@cum_sum.infer
@cum_prod.infer
def infer(node: NodeView) -> list[TensorType]:
    """Typed like the input."""
    x = node.input(0)
    if node.ints(1) is not None:
        _axis(node, x.rank)
    return [x]


@cum_sum.lower
@cum_prod.lower
def lower(low: Lowering, node: onnx_ir.Node) -> None:
    x, out, view = node.inputs[0], node.outputs[0], NodeView(node)
    assert x is not None
    shape = low.shape(x)
    axis = _axis(view, len(shape))
    p = low.params()
    spec = Scan(
        "sum" if node.op_type == "CumSum" else "prod",
        bool(view.attr("exclusive", 0)),
        bool(view.attr("reverse", 0)),
        low.dtype(x),
        p.size(product(shape[:axis])),
        p.size(shape[axis]),
        p.size(product(shape[axis + 1 :])),
    )
    memory = low.nbytes(x) + low.nbytes(out)
    low.call(node, spec, [low.ref(x), low.ref(out)], p, flops=product(shape), bytes=memory)
