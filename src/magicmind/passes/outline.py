"""Makes nested graphs (If, Loop, Scan) models of their own: what they take from outside becomes inputs.

The values captured by any body of a node become the node's last inputs, and the first inputs of each of its bodies.
The bodies then go through all passes by themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir

from magicmind.ir.bodies import set_bodies
from magicmind.ir.types import const_of, ranges_of, set_ranges, set_value_type, value_type_of
from magicmind.passes.edit import add_constant
from magicmind.passes.infra import Pass

_GRAPH = onnx_ir.AttributeType.GRAPH


class OutlineBodies(Pass):
    """Makes nested graphs models of their own, and optimises them."""

    def __init__(self, optimise: Callable[[onnx_ir.Model], None]) -> None:
        self._optimise = optimise

    def call(self, model: onnx_ir.Model) -> bool:
        nodes = [n for n in model.graph if any(a.type == _GRAPH for a in n.attributes.values())]
        for node in nodes:
            self._outline(model, node)
        return bool(nodes)

    def _outline(self, model: onnx_ir.Model, node: onnx_ir.Node) -> None:
        graphs = {name: attr.as_graph() for name, attr in node.attributes.items() if attr.type == _GRAPH}
        captured = list(dict.fromkeys(v for graph in graphs.values() for v in _captured(graph)))
        kept = [v for v in captured if const_of(v) is None]
        bodies = {}
        for name, graph in graphs.items():
            del node.attributes[name]
            bodies[name] = (_body(model, graph, captured, kept), len(kept))
        node.resize_inputs(len(node.inputs) + len(kept))
        for i, value in enumerate(kept, len(node.inputs) - len(kept)):
            node.replace_input_with(i, value)
        set_bodies(node, bodies)
        for body, _ in bodies.values():
            self._optimise(body)


def _captured(graph: onnx_ir.Graph) -> list[onnx_ir.Value]:
    """The values of enclosing graphs that this one and those in it read, in order."""
    own: set[onnx_ir.Value] = set()
    for inner in (graph, *graph.subgraphs()):
        own |= {*inner.inputs, *inner.initializers.values(), *(v for node in inner for v in node.outputs)}
    reads = [v for node in graph.all_nodes() for v in node.inputs if v is not None]
    reads += [v for inner in (graph, *graph.subgraphs()) for v in inner.outputs]
    return [v for v in dict.fromkeys(reads) if v not in own]


def _body(
    model: onnx_ir.Model, graph: onnx_ir.Graph, captured: list[onnx_ir.Value], kept: list[onnx_ir.Value]
) -> onnx_ir.Model:
    """The nested graph as a model; constants it captures become its own."""
    inside: dict[onnx_ir.Value, onnx_ir.Value] = {}
    taken = {v.name for inner in (graph, *graph.subgraphs()) for node in inner for v in node.outputs}
    taken |= {v.name for v in (*graph.inputs, *graph.initializers.values())}
    for value in captured:
        name = value.name or "captured"
        while name in taken:
            name += "_"
        taken.add(name)
        array = const_of(value)
        if array is not None:
            inside[value] = add_constant(graph, array, name)
            continue
        inside[value] = onnx_ir.Value(name=name)
        type_ = value_type_of(value)
        if type_ is not None:
            set_value_type(inside[value], type_)
    for inner in (graph, *graph.subgraphs()):
        for node in inner:
            for i, read in enumerate(node.inputs):
                if read is not None and read in inside:
                    node.replace_input_with(i, inside[read])
        for i, output in enumerate(inner.outputs):
            if output in inside:
                inner.outputs[i] = inside[output]
    for i, value in enumerate(kept):
        graph.inputs.insert(i, inside[value])
    graph.opset_imports.update(model.graph.opset_imports)
    body = onnx_ir.Model(graph, ir_version=model.ir_version)
    body.metadata_props.update(model.metadata_props)
    set_ranges(body, ranges_of(model))
    return body
