"""Host steps at lowering: attributes as JSON, operands, the plans of nested graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.dims import Dim, symbols_of
from magicmind.ir.narrow import NARROW
from magicmind.ir.types import shape_of
from magicmind.lower.plan import BodyPlan, HostStep, Plan, Step
from magicmind.ops.registry import data_symbol_names

CAPTURES = "captures"
"""Attribute of operators with bodies: how many of the last inputs are values that the bodies take from outside."""


def attributes_json(node: ir.Node) -> dict[str, Any]:
    """The attributes for a host function; tensors as lists. Raises UnsupportedOperatorError for other kinds."""
    types = (ir.AttributeType.TYPE_PROTO, ir.AttributeType.TYPE_PROTOS)  # what the plan says of the outputs anyway
    return {name: _attribute_json(attr, node) for name, attr in node.attributes.items() if attr.type not in types}


def _attribute_json(attr: ir.Attr, node: ir.Node) -> Any:
    kind = ir.AttributeType
    if attr.type in (kind.INT, kind.FLOAT, kind.STRING):
        return attr.value
    if attr.type in (kind.INTS, kind.FLOATS, kind.STRINGS):
        return list(attr.value)
    if attr.type == kind.TENSOR:
        array = attr.as_tensor().numpy()
        if attr.as_tensor().dtype in NARROW:  # their bytes, which the run time can do without ml_dtypes
            codes = np.ascontiguousarray(array).view(np.uint8).ravel().tolist()
            return {"codes": codes, "dtype": str(array.dtype), "shape": list(array.shape)}
        texts = attr.as_tensor().dtype == ir.DataType.STRING
        values = [_text(item) for item in array.flat] if texts else array.ravel().tolist()
        return {"array": values, "dtype": "object" if texts else str(array.dtype), "shape": list(array.shape)}
    raise UnsupportedOperatorError(f"{node.name} ({node.op_type}): attribute {attr.name!r} is {attr.type.name}")


def _text(item: bytes | str) -> str:
    return item.decode() if isinstance(item, bytes) else item


def string_constant(value: ir.Value) -> tuple[str, ...] | None:
    """The elements of a constant of strings; None for anything else."""
    if value.const_value is None or value.dtype != ir.DataType.STRING:
        return None
    return tuple(_text(item) for item in np.asarray(value.const_value.numpy()).flat)


def numpy_name(value: ir.Value) -> str:
    """The dtype's name in a plan: numpy's, `object` for strings and for what is no tensor."""
    if not isinstance(value.type, ir.TensorType) or value.dtype in (None, ir.DataType.STRING):
        return "object"
    assert value.dtype is not None
    return str(value.dtype.numpy())


def body_plan(graph: ir.Graph, plan: Plan, captures: int) -> BodyPlan:
    """A nested graph's plan with the symbols that it takes from outside: all that neither its own inputs nor its own
    host steps bind."""
    own = frozenset[str]()
    for value in graph.inputs[captures:]:
        own |= data_symbol_names(value)
    captured = frozenset[str]().union(*map(_dims, graph.inputs[:captures]))
    used: set[str] = set()
    for value in graph.inputs:
        used |= _dims(value)
    for step in plan.steps:
        used |= _symbols((step.flops, step.bytes))
        if isinstance(step, Step):
            used |= _symbols((*step.params, *(ref.offset for ref in step.refs)))
            used |= _symbols(ref.storage.bytes for ref in step.refs)
        else:
            used |= frozenset().union(*(_symbols(x.shape or ()) for x in step.inputs if x is not None))
            own |= _bound_by(step) - captured
            used |= {name for number in _numbers(step) for name in plan.bodies[number].given}
    used |= frozenset().union(*map(_dims, graph.outputs))
    used |= _symbols([plan.scratch, *plan.late_scratch])
    return BodyPlan(plan, tuple(sorted(used - own)))


def _dims(value: ir.Value) -> frozenset[str]:
    """The symbols in a tensor's shape."""
    return _symbols(shape_of(value) or ()) if isinstance(value.type, ir.TensorType) else frozenset()


def _bound_by(step: HostStep) -> frozenset[str]:
    """The symbols that a host step's outputs define."""
    dims = [d for x in step.outputs if x is not None for d in x.shape or ()]
    return frozenset(str(d) for d in dims if not isinstance(d, int) and str(d) in symbols_of(d))


def _numbers(step: HostStep) -> list[int]:
    return [value["body"] for value in step.attributes.values() if isinstance(value, dict) and "body" in value]


def _symbols(dims: Any) -> frozenset[str]:
    found: list[Dim] = list(dims)
    return frozenset[str]().union(*map(symbols_of, found))
