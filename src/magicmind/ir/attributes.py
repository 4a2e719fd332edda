"""Reading the attributes of a node."""

from __future__ import annotations

from typing import Any

import onnx_ir


def attribute(node: onnx_ir.Node, name: str, default: Any = None) -> Any:
    """An attribute's value (lists as tuples), or `default`."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.value
