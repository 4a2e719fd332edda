"""Convolutions, plain and transposed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value

Sizes = int | Sequence[int]


def per_axis(sizes: Sizes, count: int) -> list[int]:
    """One number for each of `count` axes."""
    numbers = [sizes] if isinstance(sizes, int) else list(sizes)
    return numbers * count if len(numbers) == 1 else numbers


def convolution(
    c: Converter,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
) -> Value:
    """x [N, C, ...] or [C, ...], weight [O, C / groups, ...] (transposed: [C, O / groups, ...])."""
    spatial = c.rank(weight) - 2
    strides, dilations = per_axis(stride, spatial), per_axis(dilation, spatial)
    attributes: dict[str, Any] = {"group": groups, "strides": strides, "dilations": dilations}
    if isinstance(padding, str):
        pads = [0] * spatial
        if padding == "same":
            pads = [d * (k - 1) for d, k in zip(dilations, _kernel(c, weight), strict=True)]
        attributes["pads"] = [p // 2 for p in pads] + [p - p // 2 for p in pads]
    else:
        attributes["pads"] = per_axis(padding, spatial) * 2
    if transposed:
        attributes["output_padding"] = per_axis(output_padding, spatial)
    value = c.value(x)
    single = c.rank(x) == spatial + 1
    value = c.net.unsqueeze(value, 0) if single else value
    inputs = [value, c.value(weight), *([] if bias is None else [c.value(bias)])]
    result = c.net.op("ConvTranspose" if transposed else "Conv", *inputs, **attributes)
    return c.net.squeeze(result, 0) if single else result


def _kernel(c: Converter, weight: Tensor) -> list[int]:
    return [int(k) for k in c.shape(weight)[2:]]  # type: ignore[arg-type]


@aten("_convolution", "aten::convolution")
def convolution_(c: Converter, *args: Any) -> Value:
    return convolution(c, *args[:9])


@aten("_convolution_mode")
def convolution_mode(
    c: Converter,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: str,
    dilation: Sizes,
    groups: int,
) -> Value:
    return convolution(c, x, weight, bias, stride, padding, dilation, False, 0, groups)


def _plain(
    c: Converter,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Value:
    return convolution(c, x, weight, bias, stride, padding, dilation, False, 0, groups)


aten("conv1d", "aten::conv2d", "aten::conv3d")(_plain)


def _transposed(
    c: Converter,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Value:
    return convolution(c, x, weight, bias, stride, padding, dilation, True, output_padding, groups)


aten("conv_transpose1d", "aten::conv_transpose2d", "aten::conv_transpose3d")(_transposed)
