"""How a kernel reaches an operand of a blocked result, and which convolutions read plain input."""

from __future__ import annotations

import onnx_ir as ir

from magicmind.ir.dims import Dim
from magicmind.ir.types import shape_of

FEW_CHANNELS = 4
"""Up to this many input channels a dense convolution reads its input plain: blocks of 16 would be mostly padding."""


def has_few_channels(node: ir.Node) -> bool:
    """Whether a convolution reads its input plain."""
    weights = node.inputs[1]
    shape = shape_of(weights) if weights is not None else None
    group = node.attributes.get("group")
    assert shape is not None and isinstance(shape[1], int)
    return shape[1] <= FEW_CHANNELS and (group is None or group.as_int() == 1)


def operand_kind(shape: tuple[Dim, ...], out: tuple[Dim, ...], is_const: bool) -> str | None:
    """How an operand broadcasts to a blocked result: same, channel, image, scalar; None when no kernel can."""
    if all(d == 1 for d in shape):
        return "scalar"
    if shape == out and not is_const:
        return "same"
    aligned = (1,) * (len(out) - len(shape)) + tuple(shape)
    if len(shape) > len(out) or aligned[1] != out[1] or any(d != 1 for d in aligned[2:]):
        return None
    if aligned[0] == 1 and is_const:
        return "channel"
    return "image" if aligned[0] == out[0] and len(shape) == len(out) and not is_const else None
