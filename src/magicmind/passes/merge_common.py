"""Merges nodes that compute the same thing, and initializers that hold the same array."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable

import numpy as np
import onnx_ir

from magicmind.ir.dims import DATA_PREFIX, Dim, substitute, symbols_of
from magicmind.ir.types import shape_of
from magicmind.passes.determinism import is_deterministic
from magicmind.passes.edit import forward, graphs_of
from magicmind.passes.equal_symbols import rename
from magicmind.passes.infra import Pass


class MergeCommon(Pass):
    """Merges equal nodes and equal initializers."""

    def call(self, model: onnx_ir.Model) -> bool:
        modified = False
        swap: dict[str, Dim] = {}
        for graph in list(graphs_of(model)):
            modified |= _merge_initializers(graph)
            modified |= _merge_nodes(graph, swap)
        if swap:
            rename(model, swap)
        return modified


def _merge_initializers(graph: onnx_ir.Graph) -> bool:
    """Whole arrays are hashed only where dtype, shape and a sample agree: reading all weights would take longer."""
    alike: defaultdict[Hashable, list[onnx_ir.Value]] = defaultdict(list)
    for value in graph.initializers.values():
        tensor = value.const_value
        if (
            tensor is None
            or value.is_graph_input()
            or value.is_graph_output()
            or tensor.dtype == onnx_ir.DataType.STRING
        ):
            continue
        sample = tensor.numpy().reshape(-1)[:16].tobytes()
        alike[tensor.dtype, tuple(tensor.shape.numpy()), sample].append(value)
    modified = False
    for group in alike.values():
        modified |= len(group) > 1 and _merge_equal(graph, group)
    return modified


def _merge_equal(graph: onnx_ir.Graph, values: list[onnx_ir.Value]) -> bool:
    first: dict[bytes, onnx_ir.Value] = {}
    modified = False
    for value in values:
        assert value.const_value is not None and value.name is not None
        digest = hashlib.blake2b(np.ascontiguousarray(value.const_value.numpy()).tobytes()).digest()
        kept = first.setdefault(digest, value)
        if kept is not value:
            value.replace_all_uses_with(kept)
            del graph.initializers[value.name]
            modified = True
    return modified


def _merge_nodes(graph: onnx_ir.Graph, swap: dict[str, Dim]) -> bool:
    """Whether any were merged; `swap` gets the sizes that only the node that went had a name for."""
    seen: dict[Hashable, onnx_ir.Node] = {}
    modified = False
    for node in list(graph):
        key = _key(node)
        if key is None:
            continue
        kept = seen.setdefault(key, node)
        if kept is not node:
            sizes = _sizes_named_anew(node, kept)
            if _merge(node, kept):
                swap |= {name: substitute(dim, swap) for name, dim in sizes.items()}
                modified = True
    return modified


def _sizes_named_anew(node: onnx_ir.Node, kept: onnx_ir.Node) -> dict[str, Dim]:
    """The data-dependent symbols of a node, each with what the same size is called at a node that computes the same."""
    pairs = ((shape_of(a) or (), shape_of(b) or ()) for a, b in zip(node.outputs, kept.outputs, strict=True))
    dims = (pair for mine, theirs in pairs if len(mine) == len(theirs) for pair in zip(mine, theirs, strict=True))
    return {str(a): b for a, b in dims if a != b and {str(a)} == symbols_of(a) and str(a).startswith(DATA_PREFIX)}


def _key(node: onnx_ir.Node) -> Hashable | None:
    """Equal for nodes that compute the same thing; None for those that may differ each time."""
    if not is_deterministic(node):
        return None
    attributes = tuple(sorted((name, _attribute_key(attr)) for name, attr in node.attributes.items()))
    used = tuple(bool(output.name) for output in node.outputs)
    return (node.domain, node.op_type, tuple(map(id, node.inputs)), attributes, used)


def _attribute_key(attr: onnx_ir.Attr) -> str:
    if attr.type == onnx_ir.AttributeType.TENSOR:
        tensor = attr.as_tensor()
        texts = tensor.dtype == onnx_ir.DataType.STRING
        data = repr(tensor.numpy().tolist()).encode() if texts else tensor.tobytes()
        return f"{tensor.dtype}{tensor.shape}{hashlib.blake2b(data).hexdigest()}"
    return f"{attr.type}{attr.value!r}"


def _merge(node: onnx_ir.Node, kept: onnx_ir.Node) -> bool:
    if len(node.outputs) == 1:
        return forward(node, kept.outputs[0])
    if any(output.is_graph_output() for output in node.outputs):
        return False
    for output, kept_output in zip(node.outputs, kept.outputs, strict=True):
        output.replace_all_uses_with(kept_output)
    assert isinstance(node.graph, onnx_ir.Graph)
    node.graph.remove(node, safe=True)
    return True
