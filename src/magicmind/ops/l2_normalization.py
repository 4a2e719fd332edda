"""magicmind.L2Normalization: x / max(norm, floor), norm the root of the sum of squares along one axis.

Attributes `axis` and `floor`. ONNX's LpNormalization has no floor and leaves zeros as they are, so it does not say what
networks compute: PyTorch's normalize has a floor of 1e-12 on the norm, TensorFlow's l2_normalize one on its square.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from magicmind.ir.dims import product
from magicmind.ir.types import TensorType
from magicmind.kernels.normalize import LpNormalize
from magicmind.lower.lowering import Lowering
from magicmind.ops.registry import Array, NodeView, Op
from magicmind.ops.shapes import need_float

l2_normalization = Op("L2Normalization", "magicmind").half()


@l2_normalization.infer
def infer(node: NodeView) -> list[TensorType]:
    """Same dtype, same shape; `axis` must exist."""
    x = need_float(node.input(0))
    node.axis(-1, x.rank)
    return [x]


@l2_normalization.reference
def reference(node: ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """In float64; a row of zeros without a floor is NaN."""
    x, view = np.asarray(arrays[0], np.float64), NodeView(node)
    norm = np.sqrt((x * x).sum(axis=view.attr("axis", -1), keepdims=True))
    with np.errstate(invalid="ignore"):
        result = x / np.maximum(norm, view.attr("floor", 0.0))
    return [result.astype(np.asarray(arrays[0]).dtype)]


@l2_normalization.lower
def lower(low: Lowering, node: ir.Node) -> None:
    """One kernel; the result may take the argument's place."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    view, shape = NodeView(node), low.shape(x)
    axis = view.axis(-1, len(shape))
    low.reuse(out, x)
    p = low.params()
    outer, inner = p.size(product(shape[:axis])), p.size(product(shape[axis + 1 :]))
    spec = LpNormalize(2, low.dtype(x), outer, p.size(shape[axis]), inner, float(view.attr("floor", 0.0)))
    flops, memory = product(shape) * 3, low.nbytes(x) + low.nbytes(out)
    low.call(node, spec, [low.ref(x), low.ref(out)], p, flops=flops, bytes=memory)
