"""Folds BatchNormalization into the operator before it; one that stands alone becomes Mul and Add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir

from magicmind.ir.types import const_of, type_of
from magicmind.passes.affine import Array, Linear, channel_axis, fold_affine, linear_of, rank_of
from magicmind.passes.edit import add_constant, attribute, graph_of, insert_node, replace_node
from magicmind.passes.infra import Decline, Rewrite


@dataclass(frozen=True)
class Affine:
    """`x * scale + offset` per channel in float64, and the operator that can take it in, if any."""

    scale: Array
    offset: Array
    rank: int
    into: Linear | None


class FoldBatchNorm(Rewrite[Affine]):
    """BatchNormalization with constant statistics is an affine function per channel."""

    roots = frozenset({"BatchNormalization"})

    def match(self, node: onnx_ir.Node) -> Affine | Decline:
        if attribute(node, "training_mode", 0) or any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
            return Decline("training mode")
        arrays = [const_of(value) for value in node.inputs[1:5]]
        scale, bias, mean, variance = (None if a is None else a.astype(np.float64) for a in arrays)
        if scale is None or bias is None or mean is None or variance is None:
            return Decline("the statistics are not constant")
        rank = rank_of(node.inputs[0])
        if rank is None:
            return Decline("the rank is not known")
        factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        linear = linear_of(node.inputs[0], offset=True)
        fits = isinstance(linear, Linear) and channel_axis(linear.node, rank) == 1
        return Affine(factor, bias - mean * factor, rank, linear if fits and isinstance(linear, Linear) else None)

    def rewrite(self, node: onnx_ir.Node, found: Affine) -> None:
        if found.into is not None:
            fold_affine(node, found.into, found.scale, found.offset)
        else:
            _stand_alone(node, found)


def _stand_alone(node: onnx_ir.Node, found: Affine) -> None:
    source, graph = node.inputs[0], graph_of(node)
    type_ = type_of(node.outputs[0])
    assert type_ is not None
    shape = (-1, *[1] * max(found.rank - 2, 0))
    scale = add_constant(graph, found.scale.reshape(shape).astype(type_.dtype.numpy()), f"{node.name}.scale")
    offset = add_constant(graph, found.offset.reshape(shape).astype(type_.dtype.numpy()), f"{node.name}.offset")
    product = insert_node(node, "Mul", [source, scale], name=node.name, types=[type_])
    for output in node.outputs[1:]:
        output.name = None
    if len(node.outputs) > 1:
        node.resize_outputs(1)
    replace_node(node, "Add", [product.outputs[0], offset])
