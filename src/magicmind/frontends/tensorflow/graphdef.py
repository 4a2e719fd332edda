"""A GraphDef as plain records: nodes with their inputs by (node, output), and the functions of its library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx_ir

from magicmind.errors import Error, ModelFormatError
from magicmind.frontends.tensorflow.outputs import position
from magicmind.frontends.tensorflow.tensors import Array, array_of, dtype_of, shape_of

Ref: TypeAlias = "tuple[str, int]"
"""An output of a node: its name and number."""


@dataclass(frozen=True)
class Node:
    """A node.

    `attributes` are plain values: bool, int, float, text, shapes as tuples, lists of these, functions as their names,
    arrays; a tensor that cannot be read is the error that says why.
    """

    name: str
    op: str
    inputs: Sequence[Ref]
    controls: Sequence[str]
    attributes: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """Whether the file gives the attribute."""
        return name in self.attributes

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)

    def dtype(self, name: str) -> onnx_ir.DataType:
        """An attribute that is an element type.  Raises ModelFormatError when it is missing."""
        number = self.attr(name)
        if not isinstance(number, int):
            raise ModelFormatError(f"the attribute {name!r} (a type) is missing")
        return dtype_of(number)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a shape; None where it is missing or the rank is not known."""
        found = self.attr(name)
        return found if isinstance(found, tuple) else None

    def tensor(self, name: str) -> Array:
        """An attribute that is a tensor.  Raises ModelFormatError when it is missing or damaged."""
        found = self.attr(name)
        if isinstance(found, Error):
            raise found
        if not isinstance(found, np.ndarray):
            raise ModelFormatError(f"the attribute {name!r} (a tensor) is missing")
        return found

    def with_attributes(self, **changes: Any) -> Node:
        """The same node with other attributes."""
        return replace(self, attributes={**self.attributes, **changes})


@dataclass(frozen=True)
class Body:
    """A graph, or a function: `arguments` are the names it is called with, `results` what it returns."""

    nodes: Mapping[str, Node]
    arguments: Sequence[str] = ()
    results: Sequence[Ref] = ()


@dataclass(frozen=True)
class GraphFile:
    """What a file holds."""

    body: Body
    functions: Mapping[str, Body]
    producer: int


def records(message: Any) -> GraphFile:
    """The records of a GraphDef, which keep nothing of the message.

    Raises ModelFormatError for nodes that do not fit together.
    """
    functions = {f.signature.name: _function(f) for f in message.library.function}
    body = Body(_unique(_node(n, _tensor_ref) for n in message.node))
    _check_inputs(body, "the graph")
    for name, function in functions.items():
        _check_inputs(function, f"function {name!r}")
    return GraphFile(body, functions, message.versions.producer)


def _unique(nodes: Iterable[Node]) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for node in nodes:
        if node.name in found:
            raise ModelFormatError(f"two nodes are called {node.name!r}")
        found[node.name] = node
    return found


def _node(message: Any, ref: Any) -> Node:
    data = [ref(text) for text in message.input if not text.startswith("^")]
    controls = [text[1:] for text in message.input if text.startswith("^")]
    attributes = {entry.key: plain for entry in message.attr if (plain := _plain(entry.value)) is not _NOTHING}
    return Node(message.name, message.op, data, controls, attributes)


def _tensor_ref(text: str) -> Ref:
    """`node` or `node:1`."""
    name, _, number = text.partition(":")
    if number and not number.isdigit():
        raise ModelFormatError(f"{text!r} is no output of a node")
    return name, int(number or 0)


def _function(message: Any) -> Body:
    """A function; inside it an output is `node:name of the output:number` and an argument `name`."""
    arguments = [a.name for a in message.signature.input_arg]
    kinds = {n.name: n for n in message.node_def}

    def ref(text: str) -> Ref:
        name, _, rest = text.partition(":")
        if not rest:
            return name, 0
        label, _, number = rest.partition(":")
        if not number.isdigit() and number:
            raise ModelFormatError(f"{text!r} is no output of a node")
        maker = kinds.get(name)
        return name, position(maker, label) + int(number or 0) if maker is not None else int(number or 0)

    nodes = _unique(_node(n, ref) for n in message.node_def)
    returned = {r.key: r.value for r in message.ret}
    missing = [a.name for a in message.signature.output_arg if a.name not in returned]
    if missing:
        raise ModelFormatError(f"function {message.signature.name!r} does not return {', '.join(map(repr, missing))}")
    results = [ref(returned[a.name]) for a in message.signature.output_arg]
    return Body(nodes, arguments, results)


def _check_inputs(body: Body, where: str) -> None:
    for node in body.nodes.values():
        for name in (*(name for name, _ in node.inputs), *node.controls):
            if name not in body.nodes and name not in body.arguments:
                raise ModelFormatError(f"node {node.name!r} ({node.op}) reads {name!r}, which {where} does not have")


_NOTHING = object()


def _plain(value: Any) -> Any:
    for kind in ("i", "f", "b", "type", "list", "s", "func", "shape", "tensor"):
        if value.HasField(kind):
            found = getattr(value, kind)
            break
    else:
        return _NOTHING
    if kind == "s":
        return found.decode("utf-8", "replace")
    if kind == "func":
        return str(found.name)
    if kind == "list":
        return _listed(found)
    if kind == "tensor":
        return _contents(found)
    return shape_of(found) if kind == "shape" else found


def _contents(message: Any) -> Array | Error:
    """A tensor, or the error for who asks for it: most graphs hold some that nobody does."""
    try:
        return array_of(message)
    except Error as error:
        return error


def _listed(value: Any) -> list[Any]:
    for kind in ("i", "f", "b", "type", "s", "shape", "func"):
        items = getattr(value, kind)
        if not items:
            continue
        if kind == "s":
            return [item.decode("utf-8", "replace") for item in items]
        if kind == "shape":
            return [shape_of(item) for item in items]
        return [item.name for item in items] if kind == "func" else list(items)
    return []
