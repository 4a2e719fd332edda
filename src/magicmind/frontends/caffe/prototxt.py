"""A prototxt as its layers: parsed, upgraded to the current format, and cut down to one phase."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from magicmind.errors import ModelFormatError
from magicmind.frontends.caffe import schema
from magicmind.frontends.caffe.upgrade import upgraded

_PHASES = ("TRAIN", "TEST")


@dataclass(frozen=True)
class State:
    """What include and exclude rules are judged by."""

    phase: str = "TEST"
    level: int = 0
    stages: Collection[str] = field(default=())


@dataclass(frozen=True)
class Net:
    """A network of one phase. `inputs` are those declared outside of layers; a shape is None where none is given."""

    name: str
    layers: list[Any]
    inputs: dict[str, tuple[int, ...] | None]
    text: str = ""
    """As it was read: messages of layer types that are not ours are found there only."""


def read_prototxt(path: Path, state: State) -> Net:
    """The network in a file.  Raises ModelFormatError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ModelFormatError(
            f"{path} is no prototxt: it is not text ({error})", hint="is this the caffemodel? the prototxt is text"
        ) from error
    return parse_prototxt(text, str(path), state)


def parse_prototxt(text: str, where: str, state: State | None = None) -> Net:
    """The network in a text.  Raises ModelFormatError naming the line."""
    message = parse_net(text, where)
    layers = [layer for layer in upgraded(message) if _included(layer, state or State())]
    if not layers:
        raise ModelFormatError(f"{where} holds no layers", hint="is it a solver? the network is in the file it names")
    return Net(message.name, layers, _declared_inputs(message, where), text)


def parse_net(text: str, where: str) -> Any:
    """The message in a text; fields that are not known are skipped.  Raises ModelFormatError naming the line."""
    try:
        return text_format.Parse(text, schema.Net(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ModelFormatError(f"{where}: line {error}", hint="the file must be a Caffe network as text") from error
    except (RecursionError, ValueError) as error:
        raise ModelFormatError(f"{where} is no Caffe network: {error}") from error


def _declared_inputs(net: Any, where: str) -> dict[str, tuple[int, ...] | None]:
    """`input:` with `input_shape`, or four `input_dim` each, or nothing."""
    names, dims = list(net.input), list(net.input_dim)
    shapes: list[tuple[int, ...] | None]
    if net.input_shape:
        shapes = [tuple(shape.dim) for shape in net.input_shape]
    elif dims:
        shapes = [tuple(dims[i : i + 4]) for i in range(0, len(dims), 4)]
    else:
        shapes = [None] * len(names)
    if len(shapes) != len(names) or (dims and len(dims) % 4):
        raise ModelFormatError(
            f"{where} declares {len(names)} inputs, {len(net.input_shape)} input_shape and {len(dims)} input_dim",
            hint="give one input_shape, or four input_dim, for each input",
        )
    return dict(zip(names, shapes, strict=True))


def _included(layer: Any, state: State) -> bool:
    """Any rule of `include` must hold, or none of `exclude`; a layer may have one kind only."""
    if layer.include and layer.exclude:
        raise ModelFormatError(f"layer {layer.name!r} has both include and exclude rules")
    if layer.include:
        return any(_holds(rule, state) for rule in layer.include)
    return not any(_holds(rule, state) for rule in layer.exclude)


def _holds(rule: Any, state: State) -> bool:
    if rule.HasField("phase") and _PHASES[rule.phase] != state.phase:
        return False
    if rule.HasField("min_level") and state.level < rule.min_level:
        return False
    if rule.HasField("max_level") and state.level > rule.max_level:
        return False
    return set(rule.stage) <= set(state.stages) and not set(rule.not_stage) & set(state.stages)
