"""From a parsed ONNX GraphProto to an onnx-ir graph: values wired by name, nodes in topological order.

What the file says about shapes of intermediate values is left behind; type inference finds them anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnx_ir

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.onnx.tensors import load_sparse, load_tensor

_A = onnx.AttributeProto
_MAX_DEPTH = 32  # of graphs within graphs; real ones have two or three

# Where files that do not say their attributes' types (before IR version 2) keep the value.
_FIELDS = {
    "f": _A.FLOAT, "i": _A.INT, "s": _A.STRING, "t": _A.TENSOR, "g": _A.GRAPH,
    "floats": _A.FLOATS, "ints": _A.INTS, "strings": _A.STRINGS, "tensors": _A.TENSORS, "graphs": _A.GRAPHS,
}  # fmt: skip


def check_texts(proto: onnx.GraphProto) -> None:
    """Raises ModelFormatError when a name in the graph is no UTF-8 text; protobuf hands out bytes then."""
    for name in _texts(proto):
        if not isinstance(name, str):
            raise ModelFormatError(f"{name!r} is no UTF-8 text", hint="the file is damaged")


def _texts(proto: onnx.GraphProto) -> Iterator[object]:
    for info in (*proto.input, *proto.output, *proto.value_info):
        yield info.name
        yield from (d.dim_param for d in info.type.tensor_type.shape.dim)
    for tensor in (*proto.initializer, *(t.values for t in proto.sparse_initializer)):
        yield tensor.name
    for node in proto.node:
        yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
        yield from (a.name for a in node.attribute)


class GraphBuilder:
    """Builds graphs of one file.  `opsets` maps domains to versions; `folder` is where external data lies."""

    def __init__(self, opsets: Mapping[str, int], folder: Path | None) -> None:
        self.opsets = opsets
        self.folder = folder

    def build(self, proto: onnx.GraphProto, outer: Mapping[str, onnx_ir.Value] | None = None) -> onnx_ir.Graph:
        """The graph.  `outer` are the values that an enclosing graph defines.

        Raises ModelFormatError for undefined or doubly defined values, cycles and malformed attributes.
        """
        outer = outer or {}
        values: dict[str, onnx_ir.Value] = {}
        initializers = [_initializer(t.name, load_tensor(t, self.folder), values) for t in proto.initializer]
        for sparse in proto.sparse_initializer:
            initializers.append(_initializer(sparse.values.name, load_sparse(sparse, self.folder), values))
        inputs = [_input(i, values) for i in proto.input if i.name not in values]
        names = _node_names(proto.node)
        self._declare_outputs(proto, names, values)
        order = _topological(proto.node, names, values, outer)
        nodes = [self._node(proto.node[i], names[i], values, outer) for i in order]
        graph = onnx_ir.Graph(
            inputs,
            [_output(o.name, values, outer) for o in proto.output],
            nodes=nodes,
            initializers=initializers,
            name=proto.name or None,
            opset_imports=dict(self.opsets),
        )
        _keep_dtypes(proto, values)
        return graph

    def _declare_outputs(self, proto: onnx.GraphProto, names: Sequence[str], values: dict[str, onnx_ir.Value]) -> None:
        producers: dict[str, str] = {}
        for node, name in zip(proto.node, names, strict=True):
            for output in node.output:
                if not output:
                    continue
                if output in values:
                    first = producers.get(output, "an input or initializer")
                    raise ModelFormatError(f"{output!r} is defined twice: by {first} and by {name} ({node.op_type})")
                producers[output] = f"{name} ({node.op_type})"
                values[output] = onnx_ir.Value(name=output)

    def _node(
        self,
        proto: onnx.NodeProto,
        name: str,
        values: Mapping[str, onnx_ir.Value],
        outer: Mapping[str, onnx_ir.Value],
    ) -> onnx_ir.Node:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        attributes = [self._attribute(a, name, values, outer) for a in proto.attribute if a.name != "consumed_inputs"]
        if not domain:
            _check_against_schema(proto, name, attributes, self.opsets.get("", 0))
        return onnx_ir.Node(
            domain,
            proto.op_type,
            [values.get(i) or outer[i] if i else None for i in proto.input],
            attributes,
            overload=proto.overload,
            outputs=[values[o] if o else onnx_ir.Value(name="") for o in proto.output],
            name=name,
        )

    def _attribute(
        self,
        proto: onnx.AttributeProto,
        node: str,
        values: Mapping[str, onnx_ir.Value],
        outer: Mapping[str, onnx_ir.Value],
    ) -> onnx_ir.Attr:
        name, kind = proto.name, proto.type or _guess_kind(proto)
        if kind in (_A.TENSOR, _A.TENSORS):
            tensors = [load_tensor(t, self.folder) for t in ([proto.t] if kind == _A.TENSOR else proto.tensors)]
            if kind == _A.TENSOR:
                return onnx_ir.AttrTensor(name, tensors[0])
            return onnx_ir.AttrTensors(name, tensors)
        if kind in (_A.GRAPH, _A.GRAPHS):
            visible = {**outer, **values}
            graphs = [self.build(g, visible) for g in ([proto.g] if kind == _A.GRAPH else proto.graphs)]
            return onnx_ir.AttrGraph(name, graphs[0]) if kind == _A.GRAPH else onnx_ir.AttrGraphs(name, graphs)
        if kind == _A.TYPE_PROTO and not proto.ref_attr_name:
            return onnx_ir.serde.deserialize_attribute(proto)
        read = _SCALARS.get(kind)
        if read is None or proto.ref_attr_name:
            raise UnsupportedOperatorError(f"{node}: attribute {name!r} is of a kind that is not supported ({kind})")
        try:
            return read(name, proto)
        except UnicodeDecodeError:
            raise ModelFormatError(f"{node}: attribute {name!r} is no UTF-8 text") from None


_SCALARS: dict[int, Callable[[str, onnx.AttributeProto], onnx_ir.Attr]] = {
    _A.INT: lambda name, a: onnx_ir.AttrInt64(name, a.i),
    _A.FLOAT: lambda name, a: onnx_ir.AttrFloat32(name, a.f),
    _A.STRING: lambda name, a: onnx_ir.AttrString(name, a.s.decode()),
    _A.INTS: lambda name, a: onnx_ir.AttrInt64s(name, a.ints),
    _A.FLOATS: lambda name, a: onnx_ir.AttrFloat32s(name, a.floats),
    _A.STRINGS: lambda name, a: onnx_ir.AttrStrings(name, [s.decode() for s in a.strings]),
}


def _guess_kind(proto: onnx.AttributeProto) -> int:
    present = [kind for field, kind in _FIELDS.items() if _is_set(proto, field)]
    return present[0] if len(present) == 1 else _A.INTS


def _is_set(proto: onnx.AttributeProto, field: str) -> bool:
    return bool(getattr(proto, field)) if field.endswith("s") and len(field) > 1 else proto.HasField(field)


# ---------------------------------------------------------------------------------------------------------- values


def _input(proto: onnx.ValueInfoProto, values: dict[str, onnx_ir.Value]) -> onnx_ir.Value:
    if not proto.name:
        raise ModelFormatError("an input has no name")
    if proto.name in values:
        raise ModelFormatError(f"two inputs are named {proto.name!r}")
    value = values[proto.name] = onnx_ir.Value(name=proto.name)
    return value


def _output(name: str, values: Mapping[str, onnx_ir.Value], outer: Mapping[str, onnx_ir.Value]) -> onnx_ir.Value:
    value = values.get(name) or outer.get(name)
    if value is None:
        raise ModelFormatError(f"the graph's output {name!r} is not computed by any node")
    return value


def _keep_dtypes(proto: onnx.GraphProto, values: Mapping[str, onnx_ir.Value]) -> None:
    """Puts the element types the file gives onto values; the rules that modernise operators look at them."""
    for info in (*proto.value_info, *proto.output):
        value = values.get(info.name)
        if value is not None and value.type is None and info.type.HasField("tensor_type"):
            code = info.type.tensor_type.elem_type
            if code in _DTYPES:
                value.type = onnx_ir.TensorType(onnx_ir.DataType(code))


_DTYPES = {int(d) for d in onnx_ir.DataType} - {0}


# ----------------------------------------------------------------------------------------------------------- nodes


def _node_names(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """A distinct name per node: the file's own; `Conv_12` (operator and position) for one without."""
    taken = {n.name for n in nodes}
    used: set[str] = set()
    names = []
    for i, node in enumerate(nodes):
        name = node.name or f"{node.op_type}_{i}"
        count = 1
        while name in used or (not node.name and name in taken):
            count += 1
            name = f"{node.name or f'{node.op_type}_{i}'}_{count}"
        used.add(name)
        names.append(name)
    return names


def _initializer(
    name: str, tensor: onnx_ir.Tensor[Any] | onnx_ir.StringTensor, values: dict[str, onnx_ir.Value]
) -> onnx_ir.Value:
    if not name:
        raise ModelFormatError("an initializer has no name")
    if name in values:
        raise ModelFormatError(f"two initializers are named {name!r}")
    value = onnx_ir.Value(name=name, type=onnx_ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
    values[name] = value
    return value


def _reads(node: onnx.NodeProto, depth: int = 0) -> Iterator[str]:
    """The names a node reads, those its subgraphs take from outside included."""
    yield from (i for i in node.input if i)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
            if depth > _MAX_DEPTH:
                raise ModelFormatError(f"{node.name}: graphs are nested more than {_MAX_DEPTH} deep")
            inner = {i.name for i in graph.input} | {t.name for t in graph.initializer}
            inner |= {t.values.name for t in graph.sparse_initializer}
            inner |= {o for n in graph.node for o in n.output}
            for child in graph.node:
                yield from (name for name in _reads(child, depth + 1) if name not in inner)


def _topological(
    nodes: Sequence[onnx.NodeProto],
    names: Sequence[str],
    values: Mapping[str, onnx_ir.Value],
    outer: Mapping[str, onnx_ir.Value],
) -> list[int]:
    """Positions of the nodes such that producers come first; the file's order where that is so already."""
    producer = {o: i for i, node in enumerate(nodes) for o in node.output if o}
    waiting: list[set[int]] = []
    users: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        reads = set(_reads(node))
        for name in sorted(reads):
            if name not in values and name not in outer:
                raise ModelFormatError(f"{names[i]} ({node.op_type}) reads {name!r}, which nothing defines")
        waiting.append({producer[r] for r in reads if r in producer})
        for p in waiting[i]:
            users[p].append(i)
    return _sorted_by_need(waiting, users, names)


def _sorted_by_need(waiting: list[set[int]], users: list[list[int]], names: Sequence[str]) -> list[int]:
    ready = [i for i, needs in enumerate(waiting) if not needs]
    order: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for user in users[i]:
            waiting[user].discard(i)
            if not waiting[user]:
                heapq.heappush(ready, user)
    if len(order) < len(waiting):
        stuck = [names[i] for i, needs in enumerate(waiting) if needs]
        more = " ..." if len(stuck) > 5 else ""
        raise ModelFormatError(f"the graph has a cycle through {', '.join(stuck[:5])}{more}")
    return order


# ---------------------------------------------------------------------------------------------------------- schema


@cache
def _schema(op_type: str, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _check_against_schema(proto: onnx.NodeProto, name: str, attributes: Sequence[onnx_ir.Attr], opset: int) -> None:
    """Attribute types, required attributes and the number of inputs, as the operator's definition has them."""
    schema = _schema(proto.op_type, opset)
    if schema is None:
        return
    where = f"{name} ({proto.op_type})"
    if not schema.min_input <= len(proto.input) <= schema.max_input:
        raise ModelFormatError(f"{where} has {len(proto.input)} inputs; {schema.min_input} to {schema.max_input} fit")
    if len(proto.output) > schema.max_output or not proto.output:
        raise ModelFormatError(f"{where} has {len(proto.output)} outputs; 1 to {schema.max_output} fit")
    given = {a.name: a for a in attributes}
    for key, expected in schema.attributes.items():
        if key not in given:
            if expected.required:
                raise ModelFormatError(f"{where}: attribute {key!r} is missing")
        elif int(given[key].type) != int(expected.type.value):
            found = given[key].type.name
            raise ModelFormatError(f"{where}: attribute {key!r} is {found}; {expected.type.name} is expected")
