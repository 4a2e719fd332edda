"""Resize: resampling by scales or to sizes.  ONNX operator Resize-19 (older ones and Upsample become it on reading)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import Dim
from magicmind.ir.types import TensorType
from magicmind.ops.registry import NodeView, Op, normalise_axis

resize = Op("Resize").half(0)

_LARGEST_DENOMINATOR = 1 << 16


def resized_axes(node: NodeView) -> tuple[int, ...]:
    """The axes `scales` and `sizes` speak of; all unless `axes` says otherwise."""
    rank = node.input(0).rank
    axes = node.ints_attr("axes")
    return tuple(range(rank)) if axes is None else tuple(normalise_axis(a, rank) for a in axes)


def scales_of(node: NodeView) -> tuple[float, ...] | None:
    """The scale of every axis of the input, when scales are given (else `sizes` rule)."""
    if not node.has(2) or node.input(2).dims == (0,):
        return None
    scales = node.const(2)
    if scales is None:
        raise UnsupportedOperatorError("scales (input 2) are computed at run time; they must be constant")
    axes = resized_axes(node)
    if scales.shape != (len(axes),) or not (scales > 0).all() or not np.isfinite(scales).all():
        raise ShapeError(f"scales are {scales.tolist()}; {len(axes)} positive numbers are needed")
    full = [1.0] * node.input(0).rank
    for axis, scale in zip(axes, scales.tolist(), strict=True):
        full[axis] = scale
    return tuple(full)


@resize.infer
def infer(node: NodeView) -> list[TensorType]:
    """X [D...] gives [floor(D * scale)...] or the sizes asked for."""
    x = node.input(0)
    scales = scales_of(node)
    if scales is not None:
        crop = _crop(node)
        shape = tuple(_scaled(d, s, c) for d, s, c in zip(x.dims, scales, crop, strict=True))
    else:
        shape = _asked_sizes(node, x)
    return [TensorType(x.dtype, shape)]


def _asked_sizes(node: NodeView, x: TensorType) -> tuple[Dim, ...]:
    if not node.has(3):
        raise ModelFormatError("neither scales nor sizes are given")
    sizes = node.dims(3)
    if sizes is None:
        raise UnsupportedOperatorError("sizes (input 3) depend on run-time data; they must follow from shapes")
    axes = resized_axes(node)
    if len(sizes) != len(axes):
        raise ShapeError(f"{len(sizes)} sizes for {len(axes)} axes")
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        sizes = _keep_ratio([x.dims[a] for a in axes], sizes, policy)
    shape = list(x.dims)
    for axis, size in zip(axes, sizes, strict=True):
        shape[axis] = size
    return tuple(shape)


def _keep_ratio(dims: list[Dim], sizes: list[Dim], policy: str) -> list[Dim]:
    """One scale for all axes: the smallest (`not_larger`) or the largest (`not_smaller`) of those asked for."""
    fixed = [(d, s) for d, s in zip(dims, sizes, strict=True) if isinstance(d, int) and isinstance(s, int) and d > 0]
    if len(fixed) != len(dims):
        raise UnsupportedOperatorError(f"keep_aspect_ratio_policy={policy!r} needs fixed shapes")
    ratios = [Fraction(s, d) for d, s in fixed]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [int(d * scale + Fraction(1, 2)) for d, _ in fixed]


def _crop(node: NodeView) -> list[float]:
    """The part of every axis that is read: all of it, but for `tf_crop_and_resize`."""
    rank = node.input(0).rank
    parts = [1.0] * rank
    if node.attr("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return parts
    roi = node.const(1)
    axes = resized_axes(node)
    if roi is None or roi.shape != (2 * len(axes),):
        raise UnsupportedOperatorError(f"roi (input 1) must be a constant of {2 * len(axes)} numbers")
    for i, axis in enumerate(axes):
        parts[axis] = float(roi[len(axes) + i] - roi[i])
    return parts


def _scaled(dim: Dim, scale: float, part: float) -> Dim:
    """floor(dim * part * scale); in float32 where everything is known, as implementations do."""
    if isinstance(dim, int):
        return int(np.floor(np.float32(dim) * np.float32(part) * np.float32(scale)))
    factor = Fraction(scale) * Fraction(part)
    if factor.denominator > _LARGEST_DENOMINATOR:
        raise UnsupportedOperatorError(f"scale {scale} of the mutable dimension {dim} is no simple fraction")
    return dim * factor.numerator // factor.denominator
