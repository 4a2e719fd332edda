"""magicmind.FirstConv: a convolution with few channels that reads an image as it lies in memory.

As magicmind.Conv, of what `load`, a scalar program on x0, makes of X; `values` holds its operands x1, x2, ...: one
number per channel each. With `channels_last`, X is [N, H, W, C]. Padding is zero (`x_zero`) after the load.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from magicmind.ir.types import TensorType
from magicmind.kernels.conv.load import Load
from magicmind.kernels.scalar import KERNEL_DTYPES
from magicmind.ops.fused import DOMAIN, infer_conv, program_of, reference_conv
from magicmind.ops.registry import Array, NodeView, Op

__all__ = ["first_conv", "load_of", "loaded_dtype"]

first_conv = Op("FirstConv", DOMAIN)

_OWN = ("load", "values", "channels_last")


def load_of(node: onnx_ir.Node, channels: int) -> Load:
    """How the node reads its input."""
    view = NodeView(node)
    attr = node.attributes.get("values")
    flat = [] if attr is None else [float(v) for v in attr.as_floats()]
    rows = [tuple(flat[i : i + channels]) for i in range(0, len(flat), channels)]
    dtype = KERNEL_DTYPES[view.input(0).dtype]
    return Load(dtype, bool(view.attr("channels_last", 0)), program_of(node, "load"), tuple(rows))


def loaded_dtype(node: onnx_ir.Node) -> str:
    """The type of what is multiplied."""
    return KERNEL_DTYPES[_Loaded(node).input(0).dtype]


class _Loaded(NodeView):
    """The node as a magicmind.Conv of what is loaded."""

    def input(self, i: int) -> TensorType:
        found = super().input(i)
        if i:
            return found
        program = program_of(self.node, "load")
        n, *rest = found.dims
        dims = (n, rest[-1], *rest[:-1]) if self.attr("channels_last", 0) else found.dims
        if program is None:
            return TensorType(found.dtype, dims)
        operands = {name: onnx_ir.DataType.FLOAT for name in program.inputs}
        return TensorType(program.result_dtype({**operands, "x0": found.dtype}), dims)


@first_conv.infer
def infer(node: NodeView) -> Sequence[TensorType]:
    """As magicmind.Conv."""
    return infer_conv(_Loaded(node.node, node.opset))


@first_conv.reference
def reference(node: onnx_ir.Node, arrays: Sequence[Array | None]) -> Sequence[Array]:
    """The program on the image, then magicmind.Conv."""
    x, *rest = arrays
    assert x is not None
    x = np.moveaxis(x, -1, 1) if NodeView(node).attr("channels_last", 0) else x
    load = load_of(node, x.shape[1])
    if load.program is not None:
        shape = [-1] + [1] * (x.ndim - 2)
        values = {f"x{i + 1}": np.array(v, np.float32).reshape(shape) for i, v in enumerate(load.values)}
        x = np.ascontiguousarray(load.program.evaluate({"x0": x, **values}))
    bare = [a for a in node.attributes.values() if a.name not in _OWN]
    plain = onnx_ir.Node(DOMAIN, "Conv", [None] * len(node.inputs), bare, num_outputs=1)
    return reference_conv(plain, [x, *rest])
