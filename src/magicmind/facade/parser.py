"""The parser: files of four frameworks into a Network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from magicmind.errors import ShapeError
from magicmind.facade.enums import DataType, ModelKind, get_numpy_dtype_by_datatype
from magicmind.facade.naming import MAIN, Numbered, with_index
from magicmind.facade.network import Network
from magicmind.facade.parsed import Parsed
from magicmind.facade.status import Refused, guarded, say_once

if TYPE_CHECKING:
    from magicmind.graph import Graph
    from magicmind.ir.types import TensorType

Path = str | os.PathLike[str]


def _is_types(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(t, DataType) for t in value)


def _is_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(n, str) for n in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or _is_names(value)


_GRAPH_FILE, _SAVED_MODEL = "tf-graphdef-file", "tf-savedmodel-v1-dir"
_TF_TYPES = (_GRAPH_FILE, _SAVED_MODEL)

PARAMETERS: Mapping[str, tuple[ModelKind, str, Callable[[Any], bool]]] = {
    "pytorch-input-dtypes": (ModelKind.kPytorch, "a list of DataType", _is_types),
    "onnx-input-dtypes": (ModelKind.kOnnx, "a list of DataType", _is_types),
    "tf-model-type": (ModelKind.kTensorflow, " or ".join(_TF_TYPES), lambda v: v in _TF_TYPES),
    "tf-graphdef-inputs": (ModelKind.kTensorflow, "a list of names", _is_names),
    "tf-graphdef-outputs": (ModelKind.kTensorflow, "a list of names", _is_names),
    "tf-infer-shape": (ModelKind.kTensorflow, "True or False", lambda v: isinstance(v, bool)),
    "tf-savedmodel-tags": (ModelKind.kTensorflow, "a text", _is_text),
    "tf-savedmodel-exported-names": (ModelKind.kTensorflow, "a text", _is_text),
    "tf-savedmodel-main-func": (ModelKind.kTensorflow, "a text", _is_text),
}  # fmt: skip
"""The keys of `set_model_param`: the framework, what a value has to be, and the test of that."""


class Parser:
    """Reads files of one framework."""

    def __init__(self, kind: ModelKind) -> None:
        self._kind = kind
        self._parameters: dict[str, Any] = {}

    @guarded
    def set_model_param(self, key: str, value: Any) -> None:
        """Tells the parser what the file does not say."""
        self._require_kind()
        if key not in PARAMETERS:
            raise Refused(f"{key!r} is no parameter of a parser", hint=f"known: {', '.join(PARAMETERS)}")
        kind, wanted, fits = PARAMETERS[key]
        if kind is not self._kind:
            raise Refused(f"{key} is a parameter of {kind.value}; this parser reads {self._kind.value}")
        if not fits(value):
            raise Refused(f"{key} is {value!r:.80}; it has to be {wanted}")
        self._parameters[key] = value

    @guarded
    def parse(self, network: Network, path: Path, prototxt: Path | None = None) -> None:
        """Fills an empty network; of Caffe's two files the weights come first."""
        self._require_kind()
        if not isinstance(network, Network):
            raise Refused(f"parse fills a Network, not {type(network).__name__}")
        network.require_empty()
        if not isinstance(path, (str, os.PathLike)):
            raise Refused(f"a file is a path, not {type(path).__name__}")
        if (prototxt is not None) != (self._kind is ModelKind.kCaffe):
            raise Refused("Caffe's networks are two files, parse(network, caffemodel, prototxt), all others one")
        found, numbers = _READ[self._kind](self._parameters, path, prototxt)
        network.fill(found, numbers)

    def _require_kind(self) -> None:
        if not isinstance(self._kind, ModelKind):
            raise Refused(f"a Parser is made with a ModelKind, not {self._kind!r:.60}")


Read = tuple[Parsed, Numbered]


def _readers() -> Any:
    from magicmind.frontends import READERS

    return READERS


def _caffe(parameters: Mapping[str, Any], path: Path, prototxt: Path | None) -> Read:
    return _as_named(_readers()[".caffemodel"](path, prototxt=prototxt))


def _onnx(parameters: Mapping[str, Any], path: Path, _: Path | None) -> Read:
    try:
        graph = _readers()[".onnx"](path)
    except ShapeError:
        return _waiting(path), Numbered()
    dtypes = parameters.get("onnx-input-dtypes")
    if dtypes:
        from magicmind.frontends.adapt import with_ends

        names = [get_numpy_dtype_by_datatype(t).name for t in dtypes]
        graph = with_ends(graph, None, input_dtypes=names)
    found, numbers = _as_named(graph)
    return replace(found, is_onnx=True), numbers


def _waiting(path: Path) -> Parsed:
    """A file whose open sizes do not all fit its operators: it is read again for the shapes that are set."""
    from magicmind.facade.realise import Waiting
    from magicmind.frontends.onnx import read_onnx

    model = read_onnx(path)
    types = _types(model.graph.inputs)
    results = [(v.name or "", ("result", i)) for i, v in enumerate(model.graph.outputs)]
    return Parsed(Waiting(path, list(types)), list(types), list(types), list(types.values()), results, is_onnx=True)


def _tensorflow(parameters: Mapping[str, Any], path: Path, _: Path | None) -> Read:
    options: dict[str, Any] = {}
    if parameters.get("tf-model-type") == _SAVED_MODEL:
        signature = parameters.get("tf-savedmodel-exported-names") or parameters.get("tf-savedmodel-main-func")
        if signature:
            options["signature"] = signature if isinstance(signature, str) else signature[0]
        if "tf-savedmodel-tags" in parameters:
            say_once("tf-savedmodel-tags", "tf-savedmodel-tags has no effect: a saved model's serving graph is read")
    else:
        options = {
            "inputs": parameters.get("tf-graphdef-inputs"),
            "outputs": parameters.get("tf-graphdef-outputs"),
        }
    graph = _readers()[".pb"](path, **options)
    return _as_named(graph, with_index)


def _as_named(graph: Graph, shown: Callable[[Sequence[str]], Sequence[str]] = list) -> Read:
    """The file's own names, changed by a rule."""
    types = types_of(graph)
    source = getattr(graph, "source", None)
    outputs = list(source.outputs) if source is not None and source.outputs else [o.name for o in graph.outputs]
    results = [(name, ("result", i)) for i, name in enumerate(shown(outputs))]
    return Parsed(graph, list(types), shown(list(types)), list(types.values()), results), Numbered()


def types_of(graph: Graph) -> dict[str, TensorType]:
    """The types of the inputs by name; without shape where even the rank is open."""
    from magicmind.graph import SourceGraph

    return dict(graph.source.inputs) if isinstance(graph, SourceGraph) else _types(graph.model.graph.inputs)


def _types(values: Iterable[Any]) -> dict[str, TensorType]:
    from magicmind.ir.types import type_of

    found = {v.name or "": type_of(v) for v in values}
    missing = [name for name, t in found.items() if t is None]
    if missing:
        raise Refused(f"input {missing[0]!r} is no tensor, which this API has no name for")
    return {name: t for name, t in found.items() if t is not None}


def _pytorch(parameters: Mapping[str, Any], path: Path, _: Path | None) -> Read:
    from magicmind.facade.listing import torch_nodes

    names = [get_numpy_dtype_by_datatype(t).name for t in parameters.get("pytorch-input-dtypes", ())]
    graph = _readers()[".pt"](path, **({"input_dtypes": names} if names else {}))
    types = types_of(graph)
    shown = [f"{MAIN}/arg-{i}" for i in range(len(types))]
    source = graph.source
    if not hasattr(source, "calls"):  # an exported program: its shapes are in the file
        found, numbers = _as_named(graph)
        return Parsed(graph, found.own_names, shown, found.types, found.outputs), numbers
    listing = source.calls()
    nodes, numbers = torch_nodes(listing, list(types))
    outputs: list[tuple[str, tuple[Any, ...]]] = []
    for i, data in enumerate(listing.results):
        origin = None if data is None else data.origin
        name = f"{nodes[origin[0]].name}:{origin[1]}" if isinstance(origin, tuple) else f"{MAIN}/output-{i}"
        outputs.append((name if name not in dict(outputs) else f"{name}-{i}", ("result", i)))
    labels = [call.label for call in listing.calls]
    return Parsed(graph, list(types), shown, list(types.values()), outputs, nodes, labels), numbers


_READ: Mapping[ModelKind, Callable[[Mapping[str, Any], Path, Path | None], Read]] = {
    ModelKind.kCaffe: _caffe,
    ModelKind.kOnnx: _onnx,
    ModelKind.kTensorflow: _tensorflow,
    ModelKind.kPytorch: _pytorch,
}
