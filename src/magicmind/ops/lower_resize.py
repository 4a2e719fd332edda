"""Lowering of Resize: one pass over all axes where few taps meet, else one pass per axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from magicmind.codegen.target import BLOCK
from magicmind.codegen.values import ITEMSIZE
from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.attributes import attribute
from magicmind.ir.dims import Dim, product
from magicmind.kernels.move import BY_SIZE
from magicmind.kernels.resize import Resample
from magicmind.kernels.resize_tables import MakeTable, Sampling, antialias_table, fixed_table
from magicmind.lower.lowering import Lowering
from magicmind.lower.plan import Ref
from magicmind.ops.lower_move import lower_same
from magicmind.ops.registry import NodeView
from magicmind.ops.resize import resize, resized_axes, scales_of

_MOST_LINES = 8  # input rows one output row may combine in a single pass


@dataclass(frozen=True)
class _Axis:
    """A resized axis: sizes before and after, how it is sampled, and its tables."""

    size: Dim
    out: Dim
    sampling: Sampling
    taps: int
    tables: tuple[Ref, ...]


@resize.lower
def lower(low: Lowering, node: ir.Node) -> None:
    """All modes on float32 and float16; `nearest` on every element type. Antialiasing needs fixed sizes."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    before, after = list(low.physical_shape(x)), list(low.physical_shape(out))
    samplings = _samplings(low, node)
    moved = [i for i, s in enumerate(samplings) if s is not None]
    if not moved:
        lower_same(low, node)
        return
    if samplings[moved[0]].mode != "nearest" and low.dtype(x) not in ("f16", "f32"):  # type: ignore[union-attr]
        raise UnsupportedOperatorError(
            f"{low.describe_node(node)}: only nearest resizes {low.dtype(x)}", hint="cast to float32 before"
        )
    axes = {i: _axis(low, node, samplings[i], before[i], after[i]) for i in moved}  # type: ignore[arg-type]
    source = low.ref(x)
    shape = before
    passes = _passes(axes)
    for number, group in enumerate(passes):
        result = list(shape)
        for i in group:
            result[i] = after[i]
        is_last = number == len(passes) - 1
        target = low.ref(out) if is_last else low.temp(product(result) * ITEMSIZE[low.dtype(x)])
        _resample(low, node, shape, group, axes, source, target)
        source, shape = target, result


def _samplings(low: Lowering, node: ir.Node) -> list[Sampling | None]:
    """Per physical axis how it is resampled; None for one that stays as it is."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    view = NodeView(node)
    shape, after = low.shape(x), low.shape(out)
    named = resized_axes(view)
    scales = scales_of(view)
    ratio = _kept_ratio(view, shape)
    rois = _rois(view, len(shape))
    mode = str(attribute(node, "mode", "nearest"))
    result: list[Sampling | None] = []
    for i, (size, new) in enumerate(zip(shape, after, strict=True)):
        scale = ratio if scales is None else scales[i]
        if i not in named or (size == new and scale in (None, 1.0) and rois[i] == (0.0, 1.0)):
            result.append(None)
            continue
        result.append(
            Sampling(
                mode,
                str(attribute(node, "coordinate_transformation_mode", "half_pixel")),
                str(attribute(node, "nearest_mode", "round_prefer_floor")) if mode == "nearest" else "",
                float(attribute(node, "cubic_coeff_a", -0.75)),
                bool(attribute(node, "exclude_outside", 0)),
                None if scale is None else float(np.float32(scale)),
                rois[i],
            )
        )
    if low.layout(x) == "blocked":
        assert result[0] is result[1] is None, f"{node.name}: blocked channels cannot be resized"
        result.append(None)
    return result


def _kept_ratio(view: NodeView, shape: Sequence[Dim]) -> float | None:
    """The one scale of all axes under `keep_aspect_ratio_policy`, else None."""
    policy = view.attr("keep_aspect_ratio_policy", "stretch")
    sizes = view.dims(3) if view.has(3) else None
    if policy == "stretch" or sizes is None:
        return None
    pairs = zip(resized_axes(view), sizes, strict=True)
    ratios = [Fraction(s, d) for a, s in pairs if isinstance(d := shape[a], int) and isinstance(s, int)]
    return float(min(ratios) if policy == "not_larger" else max(ratios))


def _rois(view: NodeView, rank: int) -> list[tuple[float, float]]:
    """The part of every axis that is read; all of it unless cropping."""
    rois = [(0.0, 1.0)] * rank
    if view.attr("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return rois
    roi = view.const(1)
    assert roi is not None
    axes = resized_axes(view)
    for i, axis in enumerate(axes):
        rois[axis] = (float(np.float32(roi[i])), float(np.float32(roi[len(axes) + i])))
    return rois


def _axis(low: Lowering, node: ir.Node, s: Sampling, size: Dim, out: Dim) -> _Axis:
    """The axis with its tables: constants for fixed sizes, else filled by a kernel of their own."""
    weighted = s.mode != "nearest"
    if weighted and attribute(node, "antialias", 0):
        if not isinstance(size, int) or not isinstance(out, int):
            raise UnsupportedOperatorError(f"{low.describe_node(node)}: antialias needs fixed sizes")
        indices, weights = antialias_table(s, size, out)
        return _Axis(size, out, s, len(indices), (low.weight(indices), low.weight(weights)))
    if isinstance(size, int) and isinstance(out, int):
        indices, weights = fixed_table(s, size, out)
        refs = (low.weight(indices), low.weight(weights))[: 1 + weighted]
        return _Axis(size, out, s, s.taps, refs)
    p = low.params()
    spec = MakeTable(s, p.size(size), p.size(out))
    tables = (low.temp(out * (4 * s.taps)), low.temp(out * (4 * s.taps)))
    low.call(node, spec, tables, p, outputs=2, bytes=out * (8 * s.taps))
    return _Axis(size, out, s, s.taps, tables[: 1 + weighted])


def _passes(axes: dict[int, _Axis]) -> list[list[int]]:
    """Which axes are resampled together: all, unless an output row would combine too many input rows."""
    numbers = list(axes)
    lines = 1
    for i in numbers[:-1]:
        lines *= axes[i].taps
    if lines <= _MOST_LINES or any(axes[i].sampling.crops for i in numbers):
        return [numbers]
    return [[i] for i in numbers]


def _resample(
    low: Lowering, node: ir.Node, shape: list[Dim], group: list[int], axes: dict[int, _Axis], source: Ref, out: Ref
) -> None:
    """One pass over `group`; axes before it are planes, those behind it travel together, those between stay."""
    x = node.inputs[0]
    assert x is not None
    p = low.params()
    between = [axes[i] if i in group else _same(low, shape[i], axes[group[0]]) for i in range(group[0], group[-1] + 1)]
    weighted = axes[group[0]].sampling.mode != "nearest"
    crops = axes[group[0]].sampling.crops
    dtype = low.dtype(x)
    value = float(attribute(node, "extrapolation_value", 0.0))
    unit = product(shape[group[-1] + 1 :])
    spec = Resample(
        p.size(product(shape[: group[0]])),
        tuple(p.size(a.size) for a in between),
        tuple(p.size(a.out) for a in between),
        tuple(a.taps for a in between),
        p.size(unit),
        weighted,
        dtype if crops or weighted else BY_SIZE[ITEMSIZE[dtype]],
        value if crops else None,
    )
    tables = [ref for a in between for ref in a.tables]
    count = product(shape[: group[0]]) * product(a.out for a in between) * unit
    work = 2 * int(np.prod([a.taps for a in between])) if weighted else 1
    scratch = between[-1].size * 4 if spec.needs_scratch else 0
    low.call(
        node, spec, [source, *tables, out], p,
        flops=count * work, bytes=count * (2 * ITEMSIZE[dtype]), scratch=scratch,
    )  # fmt: skip


def _same(low: Lowering, size: Dim, like: _Axis) -> _Axis:
    """An axis between resized ones that stays: every output is the input at its own place."""
    s = Sampling("nearest", "asymmetric", "floor", scale=1.0)
    weighted = like.sampling.mode != "nearest"
    if isinstance(size, int):
        indices, weights = fixed_table(s, size, size)
        return _Axis(size, size, s, 1, (low.weight(indices), low.weight(weights))[: 1 + weighted])
    raise UnsupportedOperatorError(f"Resize around an axis of mutable size {size} that stays", hint="fix that size")


assert BLOCK == 16  # the generator's widest vector is one block


__all__ = ["lower"]
