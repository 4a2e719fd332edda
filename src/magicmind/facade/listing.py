"""The nodes of a file as programs see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import onnx_ir

from magicmind.facade.enums import DataType
from magicmind.facade.naming import Numbered, kind_of_torch, onnx_name
from magicmind.facade.onnx_types import data_type
from magicmind.facade.parsed import ParsedNode
from magicmind.facade.realise import Key
from magicmind.frontends.pytorch.listing import Call, Data, Listing


def graph_nodes(graph: onnx_ir.Graph, inputs: Sequence[str], *, by_operator: bool) -> list[ParsedNode]:
    """The nodes of a graph, named as the file names them, or so that their operator is in the name."""
    keys: dict[onnx_ir.Value, Key] = {v: ("input", inputs.index(v.name)) for v in graph.inputs if v.name in inputs}
    keys |= {v: ("result", i) for i, v in enumerate(graph.outputs)}
    found = []
    for number, node in enumerate(graph):
        name = onnx_name(node.name or "", node.op_type, number) if by_operator else node.name or f"node_{number}"
        inputs_ = [(keys.get(v, ("value", v.name)), _type(v)) for v in node.inputs if v is not None]
        outputs = [(keys.get(v, ("value", v.name)), _type(v)) for v in node.outputs]
        found.append(ParsedNode(name, node.op_type, inputs_, outputs))
    return found


def _type(value: onnx_ir.Value) -> DataType | None:
    return None if value.dtype is None else data_type(value.dtype)


def torch_nodes(listing: Listing, inputs: Sequence[str]) -> tuple[list[ParsedNode], Numbered]:
    """The calls of a PyTorch program, and how many there were of each kind."""
    numbers = Numbered()
    keys: dict[str | tuple[int, int] | None, Key] = {name: ("input", i) for i, name in enumerate(inputs)}
    keys |= {data.origin: ("result", i) for i, data in enumerate(listing.results) if data is not None}

    def key(data: Data) -> Key | None:
        if data.origin is None:
            return None
        found = keys.get(data.origin)
        return found if found is not None or isinstance(data.origin, str) else ("call", *data.origin)

    return [_torch_node(i, call, numbers, key) for i, call in enumerate(listing.calls)], numbers


def _torch_node(number: int, call: Call, numbers: Numbered, key: Callable[[Data], Key | None]) -> ParsedNode:
    kind = kind_of_torch(call.kind)
    constants = count()
    reads = [
        (key(data) or ("weight", number, next(constants)), data_type(data.dtype)) for data in call.inputs
    ]  # fmt: skip
    makes = [(key(data) or (), data_type(data.dtype)) for data in call.outputs]
    return ParsedNode(numbers.name(kind), kind, reads, makes, number)
