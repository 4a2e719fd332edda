"""SpaceToBatchND ... BatchToSpaceND around a convolution, which is how old networks write dilation.

The nodes between are converted as they stand, and remembered; where BatchToSpaceND ends them they are converted once
more, without the rearrangement and with the dilation. Nobody then reads the first version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from magicmind.frontends.tensorflow.call import IMPORTERS, Call
from magicmind.ir.dims import Dim
from magicmind.ops.emitter import Value

_CONVOLUTIONS = frozenset({"Conv2D", "DepthwiseConv2dNative", "Conv3D"})
_POINTWISE = frozenset({
    "BiasAdd", "Relu", "Relu6", "Elu", "Sigmoid", "Tanh", "Add", "AddV2", "Mul", "Sub", "FusedBatchNorm",
    "FusedBatchNormV2", "FusedBatchNormV3", "Identity", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs",
})  # fmt: skip
"""Operators that treat every pixel alike, so that it does not matter where it lies."""


@dataclass(frozen=True)
class Spaced:
    """A value between: `x` before the rearrangement, and the nodes since."""

    x: Value
    block: Sequence[int]
    pads: Sequence[Dim]  # before and after each spatial axis
    calls: Sequence[Call] = ()

    @property
    def is_convolved(self) -> bool:
        """Whether the convolution has come already."""
        return any(call.node.op in _CONVOLUTIONS for call in self.calls)


def remember(c: Call, result: Value) -> None:
    """Notes that a node stands between, if it may."""
    first = c.inputs[0] if c.inputs else None
    found = c.state.spaced.get(first) if isinstance(first, Value) else None
    if found is None or not (c.node.op in _POINTWISE or _is_plain(c, found)):
        return
    if c.node.op in _POINTWISE and any(c.known(v) is None for v in c.values[1:]):
        return
    c.state.spaced[result] = replace(found, calls=[*found.calls, c])


def _is_plain(c: Call, found: Spaced) -> bool:
    """Whether it is a convolution at every pixel, and the first."""
    ones = all(n == 1 for name in ("strides", "dilations") for n in c.attr(name, []) or [])
    return c.node.op in _CONVOLUTIONS and not found.is_convolved and c.attr("padding") == "VALID" and ones


def dilated(c: Call, crops: Sequence[Dim]) -> Value | None:
    """The result of the nodes between as a dilated convolution; None if that is not what they are."""
    found = c.state.spaced.get(c.x)
    if found is None or not found.is_convolved or [*found.block] != c.ints(1, "the block"):
        return None
    pads = [p - q for p, q in zip(found.pads, crops, strict=True)]
    if not all(isinstance(p, int) and p >= 0 for p in pads):
        return None
    value = found.x
    for call in found.calls:
        node = call.node
        if node.op in _CONVOLUTIONS:
            numbers = [int(p) for p in pads if isinstance(p, int)]
            node = node.with_attributes(
                padding="EXPLICIT",
                explicit_paddings=[0, 0, *numbers, 0, 0],
                dilations=[1, *found.block, 1],
                data_format="NHWC",
            )
        made = IMPORTERS[node.op](Call(c.walk, node, [value, *call.inputs[1:]]))
        value = made if isinstance(made, Value) else made[0]  # type: ignore[index, assignment]
    return value
