"""The function bodies that ONNX gives some operators: their definition in terms of simpler ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx
import onnx_ir

from magicmind.ir.types import shape_of

_NEWEST = 1 << 20  # as an operator set: whatever is there


@dataclass(frozen=True)
class Body:
    """Names of inputs and outputs, and nodes whose attributes are numbers."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    nodes: Sequence[onnx.NodeProto]


@cache
def _schema(domain: str, op_type: str, opset: int) -> Any:
    try:
        if domain:  # of those beside ONNX's own only the newest version is known
            return onnx.defs.get_schema(op_type, domain=domain)
        return onnx.defs.get_schema(op_type, opset or onnx.defs.onnx_opset_version())
    except onnx.defs.SchemaError:
        return None


def has_body(node: onnx_ir.Node, opset: int) -> bool:
    """Whether ONNX defines the operator by others."""
    schema = _schema(node.domain, node.op_type, opset)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def body_of(node: onnx_ir.Node, opset: int) -> Body:
    """The body of an operator that `has_body`, attributes of the node put in.

    Raises ValueError where the definition depends on what the node's types do not tell.
    """
    schema = _schema(node.domain, node.op_type, opset)
    opset = _NEWEST if node.domain else opset
    proto = onnx_ir.to_proto(node)
    if schema.has_function:
        data = schema.get_function_with_opset_version(_newest(schema.function_opset_versions, opset))
    else:
        types = [_type_proto(value).SerializeToString() for value in node.inputs]
        version = _newest(schema.context_dependent_function_opset_versions, opset)
        data = schema.get_context_dependent_function_with_opset_version(version, proto.SerializeToString(), types)
    function = data if isinstance(data, onnx.FunctionProto) else onnx.FunctionProto.FromString(data)
    if not function.node:
        raise ValueError(f"the definition of {node.op_type} does not fit these inputs")
    given = {a.name: a for a in function.attribute_proto}
    given |= {name: a.default_value for name, a in schema.attributes.items() if a.default_value.name}
    given |= {a.name: a for a in proto.attribute}
    return Body(function.input, function.output, [_with_attributes(n, given) for n in function.node])


def _newest(versions: Sequence[int], opset: int) -> int:
    """The newest version that `opset` has."""
    return int(max(v for v in versions if v <= opset))


def _type_proto(value: onnx_ir.Value | None) -> onnx.TypeProto:
    result = onnx.TypeProto()
    if value is not None and value.dtype is not None:
        result.tensor_type.elem_type = int(value.dtype)
        shape = shape_of(value)
        if shape is not None:
            result.tensor_type.shape.SetInParent()
            for dim in shape:
                entry = result.tensor_type.shape.dim.add()
                if isinstance(dim, int):
                    entry.dim_value = dim
    return result


def _with_attributes(proto: onnx.NodeProto, given: dict[str, onnx.AttributeProto]) -> onnx.NodeProto:
    """The node with references to the function's attributes replaced; absent ones are left out."""
    result = onnx.NodeProto()
    result.CopyFrom(proto)
    del result.attribute[:]
    for attribute in proto.attribute:
        if not attribute.ref_attr_name:
            result.attribute.append(attribute)
        elif attribute.ref_attr_name in given:
            copy = result.attribute.add()
            copy.CopyFrom(given[attribute.ref_attr_name])
            copy.name = attribute.name
    return result
