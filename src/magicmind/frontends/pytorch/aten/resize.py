"""Resizing and sampling of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value


def _resized(c: Converter, x: Tensor, size: Any, scales: Sequence[float] | None, **attributes: Any) -> Value:
    """By scales where they are given, as they decide the coordinates too; else to a size."""
    value = c.value(x)
    if scales is not None:
        factors = c.net.const([1.0, 1.0, *(float(s) for s in scales)], "float32")
        return c.net.op("Resize", value, None, factors, **attributes)
    return c.net.op("Resize", value, None, None, c.vector([*c.shape(x)[:2], *size]), **attributes)


def _scales(spatial: int, settings: Sequence[Any]) -> list[float] | None:
    """One argument for each axis, or one list of them (the overloads named `vec`); None when not given."""
    if settings and isinstance(settings[0], (list, tuple)):
        return list(settings[0])
    scales = list(settings[:spatial])
    return None if not scales or any(s is None for s in scales) else scales


def _linear(mode: str, spatial: int, **extra: Any) -> Callable[..., Value]:
    def importer(c: Converter, x: Tensor, size: Any, corners: bool, *settings: Any) -> Value:
        scales = _scales(spatial, settings)
        # With a size PyTorch's half pixels and ONNX's differ where the result has one pixel.
        half = "pytorch_half_pixel" if scales is None else "half_pixel"
        placed = "align_corners" if corners else half
        return _resized(c, x, size, scales, mode=mode, coordinate_transformation_mode=placed, **extra)

    return importer


aten("upsample_linear1d")(_linear("linear", 1))
aten("upsample_bilinear2d")(_linear("linear", 2))
aten("upsample_trilinear3d")(_linear("linear", 3))
aten("upsample_bicubic2d")(_linear("cubic", 2, cubic_coeff_a=-0.75))
aten("_upsample_bilinear2d_aa")(_linear("linear", 2, antialias=1))
aten("_upsample_bicubic2d_aa")(_linear("cubic", 2, antialias=1, cubic_coeff_a=-0.5))


def _nearest(spatial: int, exact: bool) -> Callable[..., Value]:
    mode = (
        {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
        if exact
        else {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    )

    def importer(c: Converter, x: Tensor, size: Any, *settings: Any) -> Value:
        return _resized(c, x, size, _scales(spatial, settings), mode="nearest", **mode)

    return importer


for _spatial in (1, 2, 3):
    aten(f"upsample_nearest{_spatial}d")(_nearest(_spatial, False))
    aten(f"_upsample_nearest_exact{_spatial}d")(_nearest(_spatial, True))


_MODES = {0: "linear", 1: "nearest", 2: "cubic"}
_PADDINGS = {0: "zeros", 1: "border", 2: "reflection"}


@aten("grid_sampler", "aten::grid_sampler_2d", "aten::grid_sampler_3d")
def grid_sampler(c: Converter, x: Tensor, grid: Tensor, mode: int, padding: int, corners: bool) -> Value:
    return c.net.op(
        "GridSample", c.value(x), c.value(grid),
        mode=_MODES[mode], padding_mode=_PADDINGS[padding], align_corners=int(corners),
    )  # fmt: skip


@aten("affine_grid_generator")
def affine_grid(c: Converter, theta: Tensor, size: Sequence[Any], corners: bool) -> Value:
    return c.net.op("AffineGrid", c.value(theta), c.vector(size), align_corners=int(corners))


@aten("im2col")
def im2col(c: Converter, x: Tensor, kernel: Sequence[int], dilation: Any, padding: Any, stride: Any) -> Value:
    """[N, C, H, W] -> [N, C * kh * kw, L], by a convolution with unit kernels, one group a channel."""

    channels = c.shape(x)[1]
    if not isinstance(channels, int):
        raise UnsupportedOperatorError("im2col of a mutable number of channels")
    window = kernel[0] * kernel[1]
    units = torch.eye(window, dtype=c.dtype(x)).reshape(window, 1, *kernel).repeat(channels, 1, 1, 1)
    columns = c.net.op(
        "Conv", c.value(x), c.value(units),
        group=channels, strides=list(stride), dilations=list(dilation), pads=list(padding) * 2,
    )  # fmt: skip
    return c.net.op("Reshape", columns, c.net.ints(0, channels * window, -1))


@aten("col2im")
def col2im(
    c: Converter, x: Tensor, size: Sequence[Any], kernel: Sequence[int], dilation: Any, padding: Any, stride: Any
) -> Value:
    return c.net.op(
        "Col2Im", c.value(x), c.vector(size), c.net.ints(*kernel),
        dilations=list(dilation), pads=list(padding) * 2, strides=list(stride),
    )  # fmt: skip
