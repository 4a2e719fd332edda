"""Shape arithmetic that inference knows reads the shapes of the graph's inputs instead of tensors on the way.

`Shape(x)` would keep x alive and in plain memory, and the nodes between it and the Reshape or Resize that wants the
sizes would each be a kernel and a barrier.
"""

from __future__ import annotations

import onnx_ir

from magicmind.ir.dims import symbols_of
from magicmind.ir.types import TensorType, set_type, shape_of, type_of
from magicmind.ops.registry import Array, contents_of, set_data
from magicmind.passes.edit import DOMAIN, SOURCES, graphs_of, sources_of
from magicmind.passes.infra import Pass


class ReadSizes(Pass):
    """Replaces known shape arithmetic by `magicmind.Sizes`, which depends on the graph's inputs only."""

    def call(self, model: onnx_ir.Model) -> bool:
        carriers = _carriers(model.graph)
        made: dict[tuple[str, ...], onnx_ir.Value] = {}
        modified = False
        for graph in list(graphs_of(model)):
            for node in list(graph):
                if all(_known(output, carriers) is not None for output in node.outputs):
                    continue  # in the middle of the arithmetic
                for i, value in enumerate(node.inputs):
                    data = None if value is None else _known(value, carriers)
                    if value is None or data is None:
                        continue
                    key = (str(data.shape), *map(str, data.flat))
                    if key not in made:
                        made[key] = _insert(model.graph, value, data, carriers)
                    node.replace_input_with(i, made[key])
                    modified = True
        return modified


def _carriers(graph: onnx_ir.Graph) -> dict[str, onnx_ir.Value]:
    """For each symbol an input that has it as a dim."""
    found: dict[str, onnx_ir.Value] = {}
    for value in graph.inputs:
        for dim in shape_of(value) or ():
            if not isinstance(dim, int) and symbols_of(dim) == {str(dim)}:
                found.setdefault(str(dim), value)
    return found


def _known(value: onnx_ir.Value, carriers: dict[str, onnx_ir.Value]) -> Array | None:
    """The elements of a vector or scalar of int64 computed from the inputs' dims; None for anything else."""
    producer = value.producer()
    if producer is None or (producer.domain, producer.op_type) == (DOMAIN, "Sizes"):
        return None
    data, t = contents_of(value), type_of(value)
    if data is None or data.dtype != object or t is None or t.dtype != onnx_ir.DataType.INT64 or data.ndim > 1:
        return None
    needed = frozenset[str]().union(*map(symbols_of, data.flat))
    return data if needed and needed <= carriers.keys() else None


def _insert(
    graph: onnx_ir.Graph, value: onnx_ir.Value, data: Array, carriers: dict[str, onnx_ir.Value]
) -> onnx_ir.Value:
    """A node in front of all others, nested graphs included."""
    needed = sorted(frozenset[str]().union(*map(symbols_of, data.flat)))
    attributes = [
        onnx_ir.AttrStrings("dims", [str(d) for d in data.flat]),
        onnx_ir.AttrInt64("scalar", int(data.ndim == 0)),
    ]
    producer = value.producer()
    assert producer is not None
    node = onnx_ir.Node(
        DOMAIN,
        "Sizes",
        list(dict.fromkeys(carriers[name] for name in needed)),
        attributes,
        num_outputs=1,
        name=f"{producer.name}.sizes",
    )
    node.metadata_props[SOURCES] = ",".join(sources_of(producer))
    out = node.outputs[0]
    out.name = f"{value.name}.sizes"
    set_type(out, TensorType(onnx_ir.DataType.INT64, tuple(data.shape)))
    set_data(out, data)
    graph.insert_before(graph[0], node)
    return out
