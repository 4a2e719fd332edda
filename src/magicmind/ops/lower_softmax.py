"""Lowering of Softmax, LogSoftmax and Hardmax."""

from __future__ import annotations

import onnx_ir as ir

from magicmind.ir.dims import product
from magicmind.kernels.softmax import Softmax
from magicmind.lower.lowering import Lowering
from magicmind.ops.registry import NodeView
from magicmind.ops.softmax import hardmax, log_softmax, softmax

_OPS = {"Softmax": "softmax", "LogSoftmax": "log", "Hardmax": "hard"}
_FLOPS = {"Softmax": 20, "LogSoftmax": 20, "Hardmax": 2}


@softmax.lower
@log_softmax.lower
@hardmax.lower
def lower(low: Lowering, node: ir.Node) -> None:
    """Along one axis (opset 13; older models are converted before); in place where the input dies here."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    shape = low.shape(x)
    axis = NodeView(node).axis(-1, len(shape)) if shape else 0
    if node.op_type != "Hardmax":
        low.reuse(out, x)
    p = low.params()
    outer, inner = product(shape[:axis]), product(shape[axis + 1 :])
    extent = shape[axis] if shape else 1
    spec = Softmax(_OPS[node.op_type], low.dtype(x), p.size(outer), p.size(extent), p.size(inner))
    flops, memory = product(shape) * _FLOPS[node.op_type], low.nbytes(x) + low.nbytes(out)
    low.call(node, spec, [low.ref(x), low.ref(out)], p, flops=flops, bytes=memory)
