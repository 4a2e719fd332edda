"""Removes what nothing reads: nodes, and initializers of the main graph and of nested ones."""

from __future__ import annotations

import onnx_ir

from magicmind.passes.edit import graphs_of
from magicmind.passes.infra import Pass


class RemoveDead(Pass):
    """Removes nodes and initializers that nothing reads."""

    def call(self, model: onnx_ir.Model) -> bool:
        modified = False
        for graph in list(graphs_of(model)):
            for node in reversed(list(graph)):  # users first, so that one sweep is enough
                if not any(_is_read(output) for output in node.outputs):
                    graph.remove(node, safe=True)
                    modified = True
        for graph in graphs_of(model):
            for name, value in list(graph.initializers.items()):
                if not _is_read(value) and not value.is_graph_input():
                    del graph.initializers[name]
                    modified = True
        return modified


def _is_read(value: onnx_ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()
