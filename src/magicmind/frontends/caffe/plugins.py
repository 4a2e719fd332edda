"""Operators that users bring, as layers: `type: "Name"`, or `type: "Python"` whose `layer` is the name.

Bottoms are the first inputs, the blobs of the caffemodel the others. Attributes come from a message that ends in
`_param` (`plugin_relu_param { FuncType: 1 }`), which Caffe's own schema need not know, and from `param_str`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from magicmind.errors import ModelFormatError
from magicmind.frontends.caffe.layer import Importer, Layer
from magicmind.frontends.plugins import add_plugin
from magicmind.ops.emitter import Value
from magicmind.plugin import PLUGINS, Plugin, find

Message = list[tuple[str, Any]]
"""Fields of a text message in order; messages among them likewise."""


def plugin_importer(kind: str) -> Importer | None:
    """The importer of a layer type that is a plugin's name; None for any other. Raises PluginError when two have it."""
    if not any(plugin.name == kind for plugin in PLUGINS.values()):
        return None
    plugin = find(kind)
    return lambda layer: _import(layer, plugin)


def _import(layer: Layer, plugin: Plugin) -> Sequence[Value]:
    """The layer's tops."""
    blobs = [layer.weight_as_is(i) for i in range(layer.weights.count(layer.message))]
    values = [*layer.inputs, *blobs]
    names = list(plugin.inputs)
    if len(values) > len(names) and not plugin.variadic:
        raise ModelFormatError(f"has {len(values)} bottoms and blobs; {plugin.full_name} takes {', '.join(names)}")
    arguments = plugin.arguments(values, None)
    inputs = {name: value for name, value in zip(names, arguments, strict=True) if value is not None}
    return add_plugin(layer.net, plugin, inputs, _settings(layer))[: max(layer.tops, 1)]


def _settings(layer: Layer) -> dict[str, Any]:
    known = {field.name for field in layer.message.DESCRIPTOR.fields}
    settings: dict[str, Any] = {}
    for name, value in fields_of(layer):
        if name.endswith("_param") and name not in known and isinstance(value, list):
            for key, item in value:
                settings[key] = [*_listed(settings[key]), item] if key in settings else item
    text = layer.message.python_param.param_str.strip()
    if text:
        settings |= literal_settings(text)
    return settings


def literal_settings(text: str) -> dict[str, Any]:
    """A `param_str`: a Python dictionary of literals, with or without its braces. Raises ModelFormatError."""
    try:
        return dict(ast.literal_eval("{" + text.strip().strip("{}") + "}")) if text.strip() else {}
    except (ValueError, SyntaxError, TypeError) as error:
        raise ModelFormatError(f"param_str {text!r} is no list of settings: {error}") from error


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def fields_of(layer: Layer) -> Message:
    """What the prototxt says of the layer, fields that the schema lacks among it."""
    for name, value in _parsed(layer.text):
        fields = dict(value) if name == "layer" else {}
        training = dict(fields.get("include") or ()).get("phase") == "TRAIN"
        if (fields.get("name"), fields.get("type")) == (layer.name, layer.message.type) and not training:
            return list(value)
    return []


# ------------------------------------------------------------------------------------------------------- text messages

_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)' | (?P<mark>[{}<>:;,\[\]])
    | (?P<word>[^\s{}<>:;,\[\]"'#]+)""",
    re.VERBOSE,
)


@lru_cache(maxsize=4)
def _parsed(text: str) -> Message:
    """All fields of a text that protobuf has read before."""
    return _message(_tokens(text))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(text):
        if found.lastgroup:
            yield found.lastgroup, found[found.lastgroup]


def _message(tokens: Iterator[tuple[str, str]]) -> Message:
    """Fields up to the end of a message."""
    fields: Message = []
    name = ""
    for kind, text in tokens:
        if kind == "mark" and text in "}>":
            break
        if kind == "mark" and text in "{<":
            fields.append((name, _message(tokens)))
        elif kind == "word" and not name:
            name = text
            continue
        elif kind == "mark" and text == ":":
            continue
        elif kind == "mark" and text == "[":
            fields += [(name, item) for item in _items(tokens)]
        elif kind != "mark":
            fields.append((name, _scalar(kind, text)))
        name = ""
    return fields


def _items(tokens: Iterator[tuple[str, str]]) -> Iterator[Any]:
    for kind, text in tokens:
        if kind == "mark" and text == "]":
            return
        if kind == "mark" and text in "{<":
            yield _message(tokens)
        elif kind != "mark":
            yield _scalar(kind, text)


def _scalar(kind: str, text: str) -> Any:
    if kind != "word":
        return ast.literal_eval(f'"""{text}"""') if "\\" in text else text
    for convert in (lambda t: int(t, 0), float):
        try:
            return convert(text)
        except ValueError:
            continue
    return {"true": 1, "false": 0}.get(text, text)
