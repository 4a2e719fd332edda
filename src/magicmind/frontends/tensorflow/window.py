"""Windows over spatial axes: what `strides`, `padding` and `data_format` of convolutions and pools mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicmind.errors import ModelFormatError
from magicmind.frontends.tensorflow.call import Call
from magicmind.ir.dims import Dim


def is_first(c: Call) -> bool:
    """Whether the channels are first in the file already."""
    return str(c.attr("data_format", "NHWC")).startswith("NC")


def spatial(c: Call, name: str) -> list[int]:
    """An attribute with a number for every axis, for the spatial ones; 1 where it is missing."""
    numbers = [int(n) for n in c.attr(name, []) or []]
    if not numbers:
        return [1] * (c.rank(1 if len(c.inputs) > 1 else 0) - 2)
    kept, rest = (numbers[2:], numbers[:2]) if is_first(c) else (numbers[1:-1], [numbers[0], numbers[-1]])
    if any(n != 1 for n in rest):
        raise c.unsupported(f"{name} = {numbers}: only spatial axes can have another number than 1")
    if any(n < 1 for n in kept):
        raise ModelFormatError(f"{name} = {numbers}; positive numbers are needed")
    return kept


def pads_of(
    c: Call, lengths: Sequence[Dim], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """The padding as attributes of Conv and of pools; SAME as numbers where the sizes are known."""
    kind = c.attr("padding")
    if kind == "VALID":
        return {}
    if kind == "EXPLICIT":
        given = [int(n) for n in c.attr("explicit_paddings", []) or []]
        inner = given[4:] if is_first(c) else given[2:-2]
        if len(inner) != 2 * len(kernel):
            raise ModelFormatError(f"explicit_paddings = {given} do not fit {len(kernel)} spatial axes")
        return {"pads": [*inner[::2], *inner[1::2]]}
    if kind != "SAME":
        raise ModelFormatError(f"padding = {kind!r} does not exist")
    if not all(isinstance(n, int) for n in lengths):
        return {"auto_pad": "SAME_UPPER"}
    begins, ends = [], []
    for n, k, s, d in zip(lengths, kernel, strides, dilations, strict=True):
        assert isinstance(n, int)
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        begins.append(total // 2)
        ends.append(total - total // 2)
    return {"pads": [*begins, *ends]}
