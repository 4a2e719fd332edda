"""Nodes of operators that users bring (`magicmind.plugin`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magicmind.facade.enums import DataType
from magicmind.facade.nodes.row import Arguments, Call, Emitter, Row, plain
from magicmind.facade.status import Refused
from magicmind.plugin import REQUIRED, find


def plugin_row(name: Any, inputs: Any, attributes: Any) -> tuple[Row, Arguments]:
    """The kind of a plugin's nodes, whose setters are its attributes, and its operands from tensors by name.

    attributes: by name; DataTypes among them say what the outputs are, which the plugin knows itself.
    Raises PluginError for an unknown one, Refused and ModelFormatError for what it does not have.
    """
    plugin = find(str(name))
    if not isinstance(inputs, Mapping) or not isinstance(attributes, Mapping):
        raise Refused(f"add_i_plugin_node({name!r}, ...) takes its tensors, and its attributes, by name")
    operands, groups = plugin.operands(inputs)
    given = {key: plain(value) for key, value in attributes.items() if not isinstance(value, DataType)}
    unknown = [key for key in given if key not in plugin.attributes]
    if unknown:
        raise Refused(f"{plugin.full_name} has no attribute {unknown[0]!r}; it has {', '.join(plugin.attributes)}")

    def emit(e: Emitter, c: Call) -> Any:
        from magicmind.frontends.plugins import emit_plugin

        settings = {key: plain(value) for key, value in c.settings.items() if value is not REQUIRED}
        return emit_plugin(e, plugin, c["inputs"], {**settings, **groups})

    row = Row("plugin", "inputs*", emit, {**plugin.attributes, **given}, results=len(plugin.outputs))
    return row, {"inputs": operands}
