"""Edits of the graph that passes share: new nodes, replacement, constants, and the record of what was fused into what.

Names: a new node takes the name of the node it stands for; `sources` keeps the names of everything fused into a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir

from magicmind.errors import ModelFormatError
from magicmind.ir.attributes import attribute, attributes_of
from magicmind.ir.types import TensorType, set_type

__all__ = [
    "DOMAIN", "add_constant", "attribute", "forward", "graph_of", "graphs_of", "insert_node", "is_op", "merge_sources",
    "only_user", "replace_node", "sources_of",
]  # fmt: skip

DOMAIN = "magicmind"
SOURCES = "magicmind.sources"
_NAMES = "magicmind.names"

AttributeValue = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]


def graphs_of(model: onnx_ir.Model) -> Iterator[onnx_ir.Graph]:
    """The main graph and every graph nested in it."""
    yield model.graph
    yield from model.graph.subgraphs()


def graph_of(node: onnx_ir.Node) -> onnx_ir.Graph:
    """The graph that holds `node`."""
    graph = node.graph
    assert isinstance(graph, onnx_ir.Graph), node.name
    return graph


def is_op(node: onnx_ir.Node | None, *names: str, domain: str = "") -> bool:
    """Whether `node` is one of these operators."""
    return node is not None and node.domain == domain and node.op_type in names


def only_user(value: onnx_ir.Value) -> onnx_ir.Node | None:
    """The one node that reads `value` once, when nothing else does and it is no output of the graph."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses)).node


def sources_of(node: onnx_ir.Node) -> list[str]:
    """Names, in the user's file, of the nodes that `node` computes."""
    text = node.metadata_props.get(SOURCES)
    if text is not None:
        return text.split(",")
    return [node.name] if node.name else []


def merge_sources(node: onnx_ir.Node, *others: onnx_ir.Node) -> None:
    """Adds to `node` the sources of the nodes fused into it."""
    names = sources_of(node)
    for other in others:
        names += [name for name in sources_of(other) if name not in names]
    if names and names != [node.name]:
        node.metadata_props[SOURCES] = ",".join(names)


def insert_node(
    before: onnx_ir.Node,
    op_type: str,
    inputs: Sequence[onnx_ir.Value | None],
    attributes: Mapping[str, AttributeValue | None] = {},
    *,
    domain: str = "",
    name: str | None = None,
    types: Sequence[TensorType | None] = (None,),
) -> onnx_ir.Node:
    """A new node in front of `before`, with typed outputs. Attributes that are None are left out."""
    node = onnx_ir.Node(
        domain,
        op_type,
        _without_trailing_none(inputs),
        attributes_of(attributes),
        num_outputs=len(types),
        name=name,
    )
    for output, type_ in zip(node.outputs, types, strict=True):
        if type_ is not None:
            set_type(output, type_)
    graph = graph_of(before)
    graph.insert_before(before, node)
    if domain:
        graph.opset_imports.setdefault(domain, 1)
    return node


def _without_trailing_none(inputs: Sequence[onnx_ir.Value | None]) -> list[onnx_ir.Value | None]:
    kept = list(inputs)
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def replace_node(
    old: onnx_ir.Node,
    op_type: str,
    inputs: Sequence[onnx_ir.Value | None],
    attributes: Mapping[str, AttributeValue | None] = {},
    *,
    domain: str = "",
    name: str | None = None,
    fused: Sequence[onnx_ir.Node] = (),
) -> onnx_ir.Node:
    """Puts a new node in the place of `old`, with the names and types of its outputs.

    `fused` are other nodes whose work the new one does; dead-code removal takes them. `name` defaults to
    `old`'s.
    """
    new = insert_node(old, op_type, inputs, attributes, domain=domain, types=(None,) * len(old.outputs))
    name = old.name if name is None else name
    new.metadata_props.update({k: v for k, v in old.metadata_props.items() if k != SOURCES})
    graph = graph_of(old)
    for before, after in zip(old.outputs, new.outputs, strict=True):
        after.type, after.shape = before.type, before.shape
        after.metadata_props.update(before.metadata_props)
        after.meta.update(before.meta)
        text, before.name = before.name, None
        before.replace_all_uses_with(after, replace_graph_outputs=True)
        after.name = text
    new.name = name
    record = [node for node in (*fused, old) if node is not None]
    main = next((n for n in record if n.name == name), old)
    merge_sources(new, main, *(n for n in record if n is not main))
    graph.remove(old, safe=True)
    return new


def forward(node: onnx_ir.Node, source: onnx_ir.Value) -> bool:
    """Removes `node`, whose only output always equals `source`. False where an output name could not be kept.

    An output of the graph keeps its name: the value that takes its place is renamed, which is impossible when that is
    itself an input, an output, or a constant, or belongs to an enclosing graph.
    """
    output = node.outputs[0]
    graph = graph_of(node)
    if output.is_graph_output():
        if source.is_graph_input() or source.is_graph_output() or source.is_initializer() or source.graph is not graph:
            return False
        name, output.name = output.name, None
        output.replace_all_uses_with(source, replace_graph_outputs=True)
        source.name = name
    else:
        output.replace_all_uses_with(source)
    producer = source.producer()
    if producer is not None:
        merge_sources(producer, node)
    graph.remove(node, safe=True)
    return True


def add_constant(graph: onnx_ir.Graph, array: npt.NDArray[Any], hint: str, *, inherit: bool = False) -> onnx_ir.Value:
    """A new initializer holding `array`; its name is `hint`, numbered when taken.

    `inherit`: the value that had the name until now has given it up.
    """
    name, number = hint, 1
    taken = _names_of(graph)
    while name in taken and not inherit:
        number += 1
        name = f"{hint}.{number}"
    taken.add(name)
    array = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray makes a scalar 1-D
    tensor = onnx_ir.Tensor(array, name=name)
    value = onnx_ir.Value(
        name=name, shape=onnx_ir.Shape(array.shape), type=onnx_ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def _names_of(graph: onnx_ir.Graph) -> set[str | None]:
    """Every name a value of the graph had when first asked, and those given since."""
    names: set[str | None] | None = graph.meta.get(_NAMES)
    if names is None:
        names = {value.name for value in (*graph.inputs, *graph.initializers.values())}
        names.update(output.name for node in graph for output in node.outputs)
        graph.meta[_NAMES] = names
    return names


def required(value: onnx_ir.Value | None, node: onnx_ir.Node, what: str) -> onnx_ir.Value:
    """The input, or an error that names the node."""
    if value is None:
        raise ModelFormatError(f"{node.name} ({node.op_type}): {what} is missing")
    return value
