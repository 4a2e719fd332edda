"""BitCast: the same bytes read as another type of the same width.  ONNX operator BitCast-26."""

from __future__ import annotations

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.types import TensorType
from magicmind.ops.elementwise import cast_target
from magicmind.ops.lower_move import lower_same
from magicmind.ops.registry import NodeView, Op

bit_cast = Op("BitCast")


@bit_cast.infer
def infer(node: NodeView) -> list[TensorType]:
    """The dtype `to`, same shape."""
    x, to = node.input(0), cast_target(node)
    if x.dtype.bitwidth != to.bitwidth:
        raise UnsupportedOperatorError(f"{x.dtype.name} and {to.name} have different widths")
    return [TensorType(to, x.shape)]


bit_cast.lower(lower_same)
