"""Nodes of operators that users bring (`magicmind.plugin`), as the front-ends and the graph API make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir

from magicmind.ir.attributes import attributes_of
from magicmind.ops.emitter import Emitter, Value
from magicmind.plugin import Plugin


def add_plugin(
    net: Emitter, plugin: Plugin, inputs: Mapping[str, Value | Sequence[Value | None]], settings: Mapping[str, Any]
) -> Sequence[Value]:
    """The outputs of a new node. Raises ModelFormatError for inputs and settings that the operator does not have."""
    operands, groups = plugin.operands(inputs)
    return emit_plugin(net, plugin, operands, {**settings, **groups})


def emit_plugin(
    net: Emitter, plugin: Plugin, operands: Sequence[Value | None], settings: Mapping[str, Any]
) -> Sequence[Value]:
    """As `add_plugin`, with what `Plugin.operands` gives."""
    attributes = [_attribute(name, value) for name, value in settings.items() if value is not None]
    return net.add(plugin.domain, plugin.name, operands, attributes, len(plugin.outputs))


def _attribute(name: str, value: Any) -> onnx_ir.Attr:
    if isinstance(value, (list, tuple)) and not value:
        return onnx_ir.AttrInt64s(name, [])  # of what, an empty list does not say
    (attribute,) = attributes_of({name: int(value) if isinstance(value, bool) else value})
    return attribute
