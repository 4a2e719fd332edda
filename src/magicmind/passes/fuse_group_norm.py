"""GroupNormalization as exporters spell it: reshape to groups, instance normalisation, reshape back, scale and offset.

PyTorch's exporters write the normalisation of [N, groups, rest] as InstanceNormalization with a scale of ones; a
spelled-out one has become InstanceNormalization or LayerNormalization before (fuse_normalization).  Wu and He 2018,
"Group Normalization".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir

from magicmind.ir.types import const_of, dtype_of, shape_of
from magicmind.passes.affine import Array, constant_after, per_channel
from magicmind.passes.edit import add_constant, attribute, graph_of, is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite
from magicmind.passes.merge_reshapes import RESHAPES


@dataclass(frozen=True)
class Groups:
    """x [N, C, ...] normalised in groups of channels, times scale plus offset, each float64[C]."""

    x: onnx_ir.Value
    count: int
    scale: Array
    offset: Array
    covered: tuple[onnx_ir.Node, ...]
    last: onnx_ir.Node


class FuseGroupNorm(Rewrite[Groups]):
    """Reshape, a normalisation of each group, and Reshape become GroupNormalization."""

    roots = frozenset({"InstanceNormalization", "LayerNormalization"})

    def match(self, node: onnx_ir.Node) -> Groups | Decline:
        inner = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
        split = node.inputs[0].producer() if node.inputs[0] is not None else None
        if inner is None or split is None or not is_op(split, *RESHAPES) or split.inputs[0] is None:
            return Decline("no reshape to groups is before")
        x, joined = split.inputs[0], only_user(node.outputs[0])
        shape = shape_of(x)
        if joined is None or not is_op(joined, *RESHAPES) or shape is None or shape_of(joined.outputs[0]) != shape:
            return Decline("no reshape to the shape before follows")
        if len(shape) < 3 or len(inner) < 3 or inner[0] != shape[0]:
            return Decline("the first axis is not kept, or there are no channels and pixels")
        channels, count = shape[1], inner[1]
        if not isinstance(channels, int) or not isinstance(count, int) or channels % count:
            return Decline("groups do not divide the channels")
        if is_op(node, "LayerNormalization") and attribute(node, "axis", -1) % len(inner) != 2:
            return Decline("the normalisation is not over all of a group")
        if node.inputs[1] is None or only_user(split.outputs[0]) is None:
            return Decline("the groups are used elsewhere")
        affine = _per_group(node, count)
        if affine is None:
            return Decline("scale or offset are not one constant per group")
        scale, offset = (np.repeat(a, channels // count) for a in affine)
        return _with_affine(Groups(x, count, scale, offset, (split, node), joined), len(shape), channels)

    def rewrite(self, node: onnx_ir.Node, found: Groups) -> None:
        dtype = dtype_of(found.x)
        assert dtype is not None
        graph, name = graph_of(node), found.last.name
        inputs = [found.x]
        for array, what in ((found.scale, "scale"), (found.offset, "offset")):
            inputs.append(add_constant(graph, array.astype(dtype.numpy()), f"{name}.{what}"))
        attributes = {"num_groups": found.count, "epsilon": attribute(node, "epsilon", 1e-5)}
        replace_node(found.last, "GroupNormalization", inputs, attributes, fused=found.covered)


def _per_group(node: onnx_ir.Node, count: int) -> tuple[Array, Array] | None:
    """Scale and offset of the inner normalisation as float64[count]."""
    found: list[Array] = []
    for i, neutral in ((1, 1.0), (2, 0.0)):
        given = node.inputs[i] if i < len(node.inputs) else None
        array = np.full(count, neutral) if given is None else const_of(given)
        if array is None:
            return None
        if is_op(node, "LayerNormalization"):  # one number for all elements, as there is none per element of a group
            if array.size and (array != array.flat[0]).any():
                return None
            array = np.full(count, array.flat[0] if array.size else neutral)
        found.append(array.astype(np.float64))
    return found[0], found[1]


def _with_affine(groups: Groups, rank: int, channels: int) -> Groups:
    """Takes in a product and a sum with one constant per channel, where they follow."""
    for operator in ("Mul", "Add"):
        following = constant_after(groups.last.outputs[0], operator)
        if following is None:
            continue
        after, constant = following
        numbers = per_channel(constant, 1, rank, channels)
        if numbers is None:
            break
        scale, offset = groups.scale, groups.offset
        scale, offset = (scale * numbers, offset * numbers) if operator == "Mul" else (scale, offset + numbers)
        groups = Groups(groups.x, groups.count, scale, offset, (*groups.covered, groups.last), after)
    return groups
