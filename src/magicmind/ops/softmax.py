"""Softmax, LogSoftmax and Hardmax along one axis.  ONNX operators of opset 13."""

from __future__ import annotations

from magicmind.ir.types import TensorType
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_float

softmax = Op("Softmax").half()
log_softmax = Op("LogSoftmax").half()
hardmax = Op("Hardmax").half()


@softmax.infer
@log_softmax.infer
@hardmax.infer
def infer(node: NodeView) -> list[TensorType]:
    """Same dtype, same shape; `axis` (last by default) must exist."""
    x = need_float(node.input(0))
    node.axis(-1, x.rank)
    return [x]
