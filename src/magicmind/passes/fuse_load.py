"""What stands between an image and the first convolution is done while the convolution reads the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir

from magicmind.ir.scalar import ScalarProgram
from magicmind.ir.types import const_of, dtype_of, shape_of
from magicmind.ops.fused import program_of
from magicmind.ops.operands import has_few_channels
from magicmind.passes.edit import DOMAIN, is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite

Array = np.ndarray[Any, np.dtype[Any]]

FROM_LAST = [0, 3, 1, 2]
"""The permutation from NHWC to NCHW."""
_LOADED = frozenset(
    {
        onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16, onnx_ir.DataType.UINT8, onnx_ir.DataType.INT8,
        onnx_ir.DataType.INT16,
    }
)  # fmt: skip


@dataclass
class Found:
    """What lies between the convolution and `image`, from the convolution outwards."""

    image: onnx_ir.Value
    channels_last: bool
    program: ScalarProgram | None
    values: list[Array]
    nodes: list[onnx_ir.Node]


class FuseLoad(Rewrite[Found]):
    """NHWC to NCHW and a program per element, then a Conv with few channels: one magicmind.FirstConv."""

    roots = frozenset({f"{DOMAIN}.Conv"})

    def match(self, node: onnx_ir.Node) -> Found | Decline:
        x = node.inputs[0]
        shape = None if x is None else shape_of(x)
        if x is None or shape is None or len(shape) != 4 or not has_few_channels(node):
            return Decline("not a convolution that reads an image")
        channels = shape[1]
        found = Found(x, False, None, [], [])
        while isinstance(channels, int) and self._before(found, node, channels):
            pass
        if not found.nodes or dtype_of(found.image) not in _LOADED:
            return Decline("nothing lies between it and the image")
        return found

    def _before(self, found: Found, conv: onnx_ir.Node, channels: int) -> bool:
        """Takes one more node in; whether that was possible."""
        before = found.image.producer()
        reader = found.nodes[-1] if found.nodes else conv
        if before is None or only_user(found.image) is not reader:
            return False
        if is_op(before, "Transpose") and not found.channels_last:
            perm = before.attributes.get("perm")
            if perm is None or list(perm.as_ints()) != FROM_LAST or before.inputs[0] is None:
                return False
            found.channels_last = True
        elif is_op(before, "Elementwise", domain=DOMAIN) and found.program is None:
            values = _per_channel(before, channels, 3 if found.channels_last else 1)
            if values is None:
                return False
            found.program, found.values = program_of(before, "program"), values
        else:
            return False
        assert before.inputs[0] is not None
        found.image = before.inputs[0]
        found.nodes.append(before)
        return True

    def rewrite(self, node: onnx_ir.Node, found: Found) -> None:
        attributes = {name: attr.value for name, attr in node.attributes.items()}
        if found.program is not None:
            attributes["load"] = found.program.to_strings()
        if found.values:
            attributes["values"] = [float(v) for v in np.concatenate(found.values)]
        if found.channels_last:
            attributes["channels_last"] = 1
        inputs = [found.image, *node.inputs[1:]]
        replace_node(node, "FirstConv", inputs, attributes, domain=DOMAIN, fused=found.nodes)


def _per_channel(node: onnx_ir.Node, channels: int, axis: int) -> list[Array] | None:
    """The constant operands x1, x2, ... as one number per channel; None where an operand is something else."""
    x, *operands = node.inputs
    shape = None if x is None else shape_of(x)
    if shape is None or shape != shape_of(node.outputs[0]):
        return None
    found = []
    for value in operands:
        array = const_of(value)
        if array is None or array.dtype.kind != "f" or array.ndim > 4:
            return None
        aligned = array.reshape((1,) * (4 - array.ndim) + array.shape)
        if aligned.size not in (1, channels) or aligned.shape[axis] != aligned.size:
            return None
        found.append(np.broadcast_to(aligned.reshape(-1), (channels,)))
    return found
