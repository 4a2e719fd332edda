"""Puts the branch of an If whose condition is known (of shapes, mostly) in the place of the node."""

from __future__ import annotations

import onnx_ir

from magicmind.ops.registry import contents_of
from magicmind.passes.edit import graph_of, graphs_of, insert_node, is_op
from magicmind.passes.infra import Pass
from magicmind.passes.splice import discard, splice

__all__ = ["InlineIf", "known_condition"]


def known_condition(node: onnx_ir.Node) -> bool | None:
    """The condition of an If where it is known now."""
    value = node.inputs[0] if node.inputs else None
    found = None if value is None else contents_of(value)
    if found is None or found.size != 1 or found.dtype == object:
        return None
    return bool(found.reshape(-1)[0])


class InlineIf(Pass):
    """Replaces an If whose condition is known by the nodes of that branch."""

    def call(self, model: onnx_ir.Model) -> bool:
        modified = False
        again = True
        while again:  # a branch may hold another one
            again = any(_inline(node) for graph in list(graphs_of(model)) for node in list(graph))
            modified |= again
        return modified


def _inline(node: onnx_ir.Node) -> bool:
    condition = known_condition(node) if is_op(node, "If") else None
    if condition is None or not isinstance(node.graph, onnx_ir.Graph):
        return False
    graph = graph_of(node)
    branch = node.attributes["then_branch" if condition else "else_branch"].as_graph()
    discard(node.attributes["else_branch" if condition else "then_branch"].as_graph())
    results = splice(node, branch)
    for output, result in zip(node.outputs, results, strict=True):
        copy = insert_node(node, "Identity", [result], name=f"{node.name}.{output.name}").outputs[0]
        copy.type, copy.shape = result.type, result.shape
        name, output.name = output.name, None
        output.replace_all_uses_with(copy, replace_graph_outputs=True)
        copy.name = name
    graph.remove(node, safe=True)
    return True
