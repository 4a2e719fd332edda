"""Whole graphs on numpy arrays, node by node: the yardstick for passes and kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.evaluate import OPSET, evaluate_node
from magicmind.ir.types import const_of
from magicmind.ops.registry import lookup
from magicmind.runtime.host import HostCall, host_function

Array: TypeAlias = np.ndarray[Any, Any]


def run_node(node: onnx_ir.Node, arrays: Sequence[Array | None], opset: int = OPSET) -> list[Array]:
    """The outputs of one node: by its operator's own reference, else by onnx's evaluator or, of another domain than
    ONNX's, by the numpy function of the run time.

    Raises UnsupportedOperatorError when there is none of them.
    """
    op = lookup(node.domain, node.op_type)
    if op is not None and op.reference_rule is not None:
        return [np.asarray(y) for y in op.reference_rule(node, arrays)]
    if node.domain and op is not None and op.host_name is not None:
        return _run_host(node, op.host_name, arrays)
    if node.domain:
        raise UnsupportedOperatorError(f"{node.name}: {node.domain}.{node.op_type} has no reference")
    return evaluate_node(node, arrays, opset)


def _run_host(node: onnx_ir.Node, function: str, arrays: Sequence[Array | None]) -> list[Array]:
    attributes = {name: attr.value for name, attr in node.attributes.items()}
    for name, value in attributes.items():
        if isinstance(value, onnx_ir.TensorProtocol):
            attributes[name] = value.numpy()
        elif isinstance(value, tuple):
            attributes[name] = list(value)
    dtypes = [None if v.dtype is None else v.dtype.numpy() for v in node.outputs]
    call = HostCall(arrays, attributes, len(node.outputs), dtypes, [None] * len(node.outputs))
    return [np.asarray(y) for y in host_function(function, node.name or node.op_type)(call)]


def run_graph(model: onnx_ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a graph by name, given its inputs by name."""
    graph = model.graph
    known: dict[onnx_ir.Value, Array] = {v: np.asarray(feeds[v.name or ""]) for v in graph.inputs}
    opset = graph.opset_imports.get("", OPSET)
    for node in graph:
        arrays = [None if v is None else _array(v, known) for v in node.inputs]
        known.update(zip(node.outputs, run_node(node, arrays, opset), strict=True))
    return {v.name or "": _array(v, known) for v in graph.outputs}


def _array(value: onnx_ir.Value, known: Mapping[onnx_ir.Value, Array]) -> Array:
    if value in known:
        return known[value]
    constant = const_of(value)
    assert constant is not None, f"{value.name} is not computed"
    return constant
