"""Operators that users bring, as programs of PyTorch call them: `domain::Name`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.plugins import add_plugin
from magicmind.plugin import PLUGINS, Plugin, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicmind.frontends.pytorch.converter import Converter

_LIBRARIES: list[torch.library.Library] = []  # what they define is gone when they are


def define_plugins() -> None:
    """Tells PyTorch of the operators that nobody else has defined, so that files that call them can be opened.

    Raises PluginError for a schema that PyTorch does not take.
    """
    for plugin in PLUGINS.values():
        if plugin.schema is None or _schemas(f"{plugin.domain}::{plugin.name}"):
            continue
        if plugin.schema.partition("(")[0].strip() != plugin.name:
            raise PluginError(f"the schema {plugin.schema!r} is not one of {plugin.full_name}")
        try:
            library = torch.library.Library(plugin.domain, "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(plugin.schema)  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise PluginError(f"the schema {plugin.schema!r} of {plugin.full_name}: {first}") from error
        _LIBRARIES.append(library)


def plugin_importer(name: str) -> Callable[..., Any] | None:
    """The importer of a plugin's operator; None for any other."""
    domain, _, op = name.partition("::")
    plugin = PLUGINS.get((domain, op))
    return None if plugin is None else lambda c, *args: _import(c, plugin, name, args)


def _import(c: Converter, plugin: Plugin, name: str, args: tuple[Any, ...]) -> Any:
    inputs: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for argument, value in zip(_schemas(name)[0].arguments, args, strict=True):
        if value is None:
            continue
        if argument.name in plugin.inputs:
            inputs[argument.name] = [c.value(v) for v in value] if isinstance(value, (list, tuple)) else c.value(value)
        elif argument.name in plugin.attributes:
            settings[argument.name] = value
        else:
            known = ", ".join((*plugin.inputs, *plugin.attributes))
            raise UnsupportedOperatorError(f"{name} has an argument {argument.name!r}; the plugin has {known}")
    found = add_plugin(c.net, plugin, inputs, settings)
    return found[0] if len(found) == 1 else tuple(found)


def _schemas(name: str) -> list[Any]:
    return list(torch._C._jit_get_schemas_for_operator(name))
