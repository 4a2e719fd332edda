"""Whether a graph is well formed: what MAGICMIND_CHECK asks after every pass."""

from __future__ import annotations

import onnx_ir

from magicmind.passes.edit import graphs_of

__all__ = ["verify"]


def verify(model: onnx_ir.Model) -> list[str]:
    """The problems found; empty when there are none.

    Every value is defined once and before its use, has a name of its own in its graph and a dtype; every user is in
    the model; every output of the graph exists.
    """
    nodes = {node for graph in graphs_of(model) for node in graph}
    problems: list[str] = []
    _verify_graph(model.graph, set(), nodes, problems)
    return problems


def _verify_graph(
    graph: onnx_ir.Graph, outer: set[onnx_ir.Value], nodes: set[onnx_ir.Node], problems: list[str]
) -> None:
    defined = outer | set(graph.inputs) | set(graph.initializers.values())
    names: set[str | None] = set()
    for value in (*graph.inputs, *graph.initializers.values()):
        if not (value.is_graph_input() and value.is_initializer() and value.name in names):
            _verify_value(value, names, nodes, problems)
    for node in graph:
        for read in node.inputs:
            if read is not None and read not in defined:
                problems.append(f"{node.name} ({node.op_type}) reads {read.name!r} before anything defines it")
        for attr in node.attributes.values():
            if attr.type == onnx_ir.AttributeType.GRAPH:
                _verify_graph(attr.as_graph(), defined, nodes, problems)
        for value in node.outputs:
            defined.add(value)
            _verify_value(value, names, nodes, problems)
    problems += [f"output {v.name!r} is not computed" for v in graph.outputs if v not in defined]


def _verify_value(value: onnx_ir.Value, names: set[str | None], nodes: set[onnx_ir.Node], problems: list[str]) -> None:
    if value.name in names:
        problems.append(f"two values are named {value.name!r}")
    if value.name:
        names.add(value.name)
    used = bool(value.uses()) or value.is_graph_output()
    if used and not value.name:
        problems.append(f"a value of {value.producer()} has no name")
    if used and value.dtype is None and value.type is None:
        problems.append(f"{value.name!r} has no type")
    problems += [
        f"{value.name!r} is read by {user.name}, which was removed" for user, _ in value.uses() if user not in nodes
    ]
