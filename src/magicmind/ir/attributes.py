"""Reading and making the attributes of a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir


def attribute(node: onnx_ir.Node, name: str, default: Any = None) -> Any:
    """An attribute's value (lists as tuples), or `default`."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.value


_LISTS = {
    int: onnx_ir.AttributeType.INTS,
    float: onnx_ir.AttributeType.FLOATS,
    str: onnx_ir.AttributeType.STRINGS,
}


def attributes_of(values: Mapping[str, Any]) -> list[onnx_ir.Attr]:
    """Attributes of these values, without those that are None. Raises TypeError for what can be none."""
    return [
        onnx_ir.convenience.convert_attribute(name, value, _type_of_list(value))
        for name, value in values.items()
        if value is not None
    ]


def _type_of_list(value: Any) -> onnx_ir.AttributeType | None:
    """What convert_attribute finds too, but slowly: it first asks whether a list is a graph or a tensor."""
    kinds = set(map(type, value)) if isinstance(value, (list, tuple)) else set()
    return _LISTS.get(kinds.pop()) if len(kinds) == 1 else None
