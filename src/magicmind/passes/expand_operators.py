"""Replaces operators by the simpler ones they are made of (`ops/expansion.py`)."""

from __future__ import annotations

import onnx_ir
from onnx_ir import DataType

from magicmind.ir.scalar_ops import SCALAR_OPS
from magicmind.ops.expansion import Expansion, can_expand, expand_node
from magicmind.passes.edit import SOURCES, add_constant, graph_of, graphs_of, merge_sources
from magicmind.passes.infer_types import type_node
from magicmind.passes.infra import Pass
from magicmind.passes.splice import discard


class ExpandOperators(Pass):
    """Writes every operator that has an expansion as others; nodes made on the way are looked at too."""

    def call(self, model: onnx_ir.Model) -> bool:
        opset = model.graph.opset_imports.get("", 0)
        modified = False
        for graph in list(graphs_of(model)):
            waiting = list(graph)[::-1]
            while waiting:
                node = waiting.pop()
                if node.graph is not graph:
                    continue
                expansion = None
                halves = halves_of(node)
                if can_expand(node, opset) and not (halves and node.op_type in _WIDE_ONLY):
                    expansion = expand_node(node, opset, type_node)
                if expansion is None and halves:
                    expansion = widened(node, opset)
                if expansion is not None:
                    waiting += place(expansion)[::-1]
                    modified = True
        return modified


_STORES = frozenset(SCALAR_OPS) | frozenset({
    "Sum", "Mean", "Max", "Min", "CastLike", "Constant", "ConstantOfShape", "Shape", "Size", "Reshape", "Flatten",
    "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Concat", "Expand", "Tile", "Gather", "GatherND",
    "GatherElements", "Pad", "DepthToSpace", "SpaceToDepth", "If", "Loop", "Scan",
})  # fmt: skip
"""Operators whose kernels read and write bfloat16 in memory, or only move it."""


_WIDE_ONLY = frozenset({
    "GridSample", "RoiAlign", "MeanVarianceNormalization", "Det", "RNN", "GRU", "LSTM",
})  # fmt: skip
"""Operators whose kernels, functions or definitions do not know float16 either."""


def halves_of(node: onnx_ir.Node) -> frozenset[DataType]:
    """The 16-bit floats among an ONNX operator's inputs that it has no kernel for."""
    if node.domain or node.op_type in _STORES:
        return frozenset()
    refused = {DataType.BFLOAT16, DataType.FLOAT16} if node.op_type in _WIDE_ONLY else {DataType.BFLOAT16}
    return frozenset(v.dtype for v in node.inputs if v is not None and v.dtype in refused)


def widened(node: onnx_ir.Node, opset: int) -> Expansion:
    """The node in float32 between casts."""
    e = Expansion(node, opset, type_node)
    halves = halves_of(node)
    inputs = [e.cast(v, DataType.FLOAT) if v is not None and v.dtype in halves else v for v in node.inputs]
    outputs = e.add(node.domain, node.op_type, inputs, list(node.attributes.values()), len(node.outputs))
    pairs = zip(node.outputs, outputs, strict=True)
    e.results = [e.cast(new, old.dtype) if old.dtype in halves else new for old, new in pairs]
    return e


def place(expansion: Expansion) -> list[onnx_ir.Node]:
    """Puts the nodes of an expansion into the graph, in the place of the node they stand for."""
    old = expansion.node
    graph = graph_of(old)
    for constant in expansion.constants:
        assert constant.const_value is not None
        if constant.uses() or constant in expansion.results:
            placed = add_constant(graph, constant.const_value.numpy(), str(constant.name))
            constant.replace_all_uses_with(placed)
            expansion.results = [placed if value is constant else value for value in expansion.results]
    results = [_as_new(expansion, value) for value in expansion.results]
    nodes = expansion.nodes
    for node in nodes:
        merge_sources(node, old)
        node.metadata_props[SOURCES] = old.metadata_props.get(SOURCES, old.name or "")
        if node.domain:
            graph.opset_imports.setdefault(node.domain, 1)
        if node.graph is None:
            graph.insert_before(old, node)
    for before, after in zip(old.outputs, results, strict=False):
        text, before.name = before.name, None
        before.replace_all_uses_with(after, replace_graph_outputs=True)
        after.name = text
    kept = [attribute for node in nodes for attribute in node.attributes.values()]
    for attribute in old.attributes.values():
        if attribute.type == onnx_ir.AttributeType.GRAPH and attribute not in kept:  # copied into the expansion
            discard(attribute.as_graph())
    graph.remove(old, safe=True)
    return nodes


def _as_new(expansion: Expansion, value: onnx_ir.Value) -> onnx_ir.Value:
    """The value, or a copy where it is not made by the expansion alone: it is to take the name of an output."""
    producer = value.producer()
    if producer in expansion.nodes and list(expansion.results).count(value) == 1:
        return value
    return expansion.op("Identity", value)
