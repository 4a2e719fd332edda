"""Puts the nodes of a nested graph into the graph around it."""

from __future__ import annotations

import onnx_ir

from magicmind.passes.edit import graph_of

__all__ = ["discard", "names_of", "splice"]


def names_of(graph: onnx_ir.Graph) -> set[str]:
    """The names of all values that a graph holds."""
    values = (*graph.inputs, *graph.initializers.values(), *(v for n in graph for v in n.outputs))
    return {v.name for v in values if v.name}


def splice(node: onnx_ir.Node, nested: onnx_ir.Graph, taken: set[str] | None = None) -> list[onnx_ir.Value]:
    """Moves the nodes and constants of a graph in front of `node`, under free names; the values that were its outputs.

    Nothing may read the nested graph's inputs any more. `taken` are the names in use, to which the new ones come.
    """
    graph = graph_of(node)
    taken = names_of(graph) if taken is None else taken
    results = list(nested.outputs)
    nested.outputs.clear()  # a value is an output of one graph at most
    for constant in list(nested.initializers.values()):
        _move_constant(graph, constant, results, taken)
    nodes = list(nested)
    nested.remove(nodes)
    for moved in nodes:
        for value in moved.outputs:
            if value.name:
                value.name = _free(value.name, taken)
    graph.insert_before(node, nodes)
    return results


def discard(graph: onnx_ir.Graph) -> None:
    """Empties a graph that is thrown away, so that nothing outside counts as read by it."""
    for inner in [graph, *graph.subgraphs()]:
        inner.outputs.clear()
        nodes = list(inner)
        for node in nodes:
            for i in range(len(node.inputs)):
                node.replace_input_with(i, None)
        inner.remove(nodes)


def _move_constant(
    graph: onnx_ir.Graph, constant: onnx_ir.Value, results: list[onnx_ir.Value], taken: set[str]
) -> None:
    name = _free(constant.name or "constant", taken)
    copy = onnx_ir.Value(name=name, type=constant.type, shape=constant.shape, const_value=constant.const_value)
    constant.replace_all_uses_with(copy)
    results[:] = [copy if value is constant else value for value in results]
    graph.register_initializer(copy)


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}.{number}"
    taken.add(free)
    return free
