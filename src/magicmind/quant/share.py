"""Common scales for tensors that are concatenated: with one scale, concatenation copies bytes.

A tensor joins the scale of what it is concatenated with unless that costs one of them more than a bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir

from magicmind.passes.edit import is_op
from magicmind.quant.histogram import Histogram
from magicmind.quant.places import Places
from magicmind.quant.scales import TensorScale, scale_of

_COST = 4.0
"""How often the noise of its own scale a tensor may have: one bit, 6 dB."""

Found = dict[onnx_ir.Value, TensorScale]


def noise(seen: Histogram, scale: TensorScale) -> float:
    """The sum of squared errors of quantising; at least what rounding to the step gives for values spread evenly."""
    x, counts = seen.filled()
    return float(counts @ (scale.round_trip(x) - x) ** 2)


def share_scales(
    places: Places, seen: Mapping[onnx_ir.Value, Histogram], own: Mapping[onnx_ir.Value, TensorScale], symmetric: bool
) -> Found:
    """The scales with those of concatenated tensors made equal, in the order of the graph."""
    groups: dict[onnx_ir.Value, list[onnx_ir.Value]] = {value: [value] for value in own}
    found: Found = dict(own)
    for result in places.scaled:
        node = result.producer()
        if node is None or not is_op(node, "Concat"):
            continue
        parts = dict.fromkeys(places.roots[v] for v in node.inputs if v is not None and v in places.roots)
        for part in sorted(parts, key=lambda v: -_width(own[v])):  # the widest decides what the others pay
            if groups[part] is groups[result]:
                continue
            members = groups[result] + groups[part]
            parts_only = [v for v in members if not is_op(v.producer(), "Concat")]
            common = _common([own[v] for v in parts_only or members], symmetric)
            if all(noise(seen[v], common) <= _COST * noise(seen[v], own[v]) for v in members):
                for member in members:
                    groups[member] = members
                    found[member] = common
    return found


def _width(scale: TensorScale) -> float:
    return scale.high - scale.low


def _common(scales: list[TensorScale], symmetric: bool) -> TensorScale:
    low, high = min(s.low for s in scales), max(s.high for s in scales)
    common = scale_of(low, high, symmetric=symmetric, algorithm=scales[0].algorithm)
    ends = [end for s in scales if s.seen is not None for end in s.seen]
    return replace(common, seen=(min(ends), max(ends))) if ends else common
