"""From an ONNX file to the unified graph: parse, check, wire, modernise, and settle the shapes of the inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
import onnx_ir
from google.protobuf.message import DecodeError

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.onnx.build import GraphBuilder, check_texts
from magicmind.frontends.onnx.lists import resolve_lists
from magicmind.frontends.onnx.upgrade import OLDEST, upgrade
from magicmind.ir.dims import Dim, symbol
from magicmind.ir.input_shapes import apply_shapes
from magicmind.ir.shape_spec import ANY, ShapeSpecs, sanitise
from magicmind.ir.types import (
    ELEMENT,
    RANGES_KEY,
    OptionalOf,
    SequenceOf,
    Shape,
    TensorType,
    ValueType,
    ranges_of,
    set_value_type,
)

Source = str | os.PathLike[str] | bytes | onnx.ModelProto


# Protobuf hands out damaged fields as they are (a name that is no UTF-8 comes as bytes, an enum as any number), and
# onnx-ir is strict about what it takes.
_DAMAGED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


def read_onnx(source: Source, *, input_shapes: ShapeSpecs | None = None) -> onnx_ir.Model:
    """The model of a file, of bytes or of a parsed proto, with types on inputs and initializers only.

    Inputs that have an initializer become constants.  Symbolic dims keep their names (made identifiers), unnamed ones
    become `<input>_d<i>`; `input_shapes` overrides them.
    Raises ModelFormatError (a broken file), ShapeError (shapes that do not fit), UnsupportedOperatorError.
    """
    proto, folder, where = _load(source)
    try:
        return _convert(proto, folder, input_shapes)
    except ModelFormatError as error:
        raise ModelFormatError(f"{where}: {error}") from error
    except _DAMAGED as error:
        text = f"{where} is malformed: {type(error).__name__}: {error}"
        raise ModelFormatError(text, hint="export the model again, or check it with onnx.checker") from error


def _convert(proto: onnx.ModelProto, folder: Path | None, input_shapes: ShapeSpecs | None) -> onnx_ir.Model:
    opsets = _opsets(proto)
    if proto.functions:
        proto = _without_functions(proto)
    check_texts(proto.graph)
    graph = GraphBuilder(opsets, folder).build(proto.graph)
    model = onnx_ir.Model(
        graph,
        ir_version=max(proto.ir_version, 10),
        producer_name=_text(proto.producer_name) or None,
        producer_version=_text(proto.producer_version) or None,
        metadata_props={_text(e.key): _text(e.value) for e in proto.metadata_props},
    )
    _type_inputs(model, proto.graph, input_shapes)
    upgrade(graph)
    resolve_lists(graph)
    return model


# --------------------------------------------------------------------------------------------------------- loading


def _load(source: Source) -> tuple[onnx.ModelProto, Path | None, str]:
    """(parsed model, folder of external data, what to call it in errors)."""
    if isinstance(source, onnx.ModelProto):
        return _checked(source, "the model"), None, "the model"
    if isinstance(source, bytes):
        where = f"the model of {len(source)} bytes"
        return _parse(source, where), None, where
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    where = f"{path} ({len(data)} bytes)"
    return _parse(data, where), path.resolve().parent, where


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    if not data:
        raise ModelFormatError(f"{where} is empty", hint="copy or export the model again")
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelFormatError(
            f"{where} is no ONNX model, or it is cut off: {error}", hint="copy or export the model again"
        ) from error
    return _checked(proto, where)


def _text(text: str | bytes) -> str:
    """A remark of the producer; protobuf hands out bytes where it is no UTF-8."""
    return text if isinstance(text, str) else text.decode(errors="replace")


def _checked(proto: onnx.ModelProto, where: str) -> onnx.ModelProto:
    if not proto.HasField("graph") or not proto.graph.output or not (proto.opset_import or proto.ir_version):
        raise ModelFormatError(f"{where} is no ONNX model: it holds no graph with outputs")
    return proto


def _opsets(proto: onnx.ModelProto) -> dict[str, int]:
    """Operator set versions by domain.  Raises ModelFormatError outside what can be read."""
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}
    newest = onnx.defs.onnx_opset_version()
    version = opsets.setdefault("", 1 if not opsets else newest)
    if not OLDEST <= version <= newest:
        hint = "convert it with onnx.version_converter" if version < OLDEST else "install a newer onnx package"
        raise ModelFormatError(f"operator set {version} cannot be read; {OLDEST} to {newest} can", hint=hint)
    return opsets


def _without_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its local functions written out at their calls; weights stay out of the detour."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    weights = list(proto.graph.initializer)
    del bare.graph.initializer[:]
    _write_defaults(bare)
    try:
        bare = onnx.inliner.inline_local_functions(bare)
    except (RuntimeError, ValueError, DecodeError) as error:
        raise ModelFormatError(f"its local functions cannot be written out: {error}") from error
    bare.graph.initializer.extend(weights)
    return bare


def _write_defaults(proto: onnx.ModelProto) -> None:
    """Writes the defaults of local functions into calls that leave attributes out: onnx's inliner drops them."""
    defaults = {(f.domain, f.name, f.overload): list(f.attribute_proto) for f in proto.functions if f.attribute_proto}
    waiting = [*proto.graph.node, *(node for f in proto.functions for node in f.node)] if defaults else []
    while waiting:
        node = waiting.pop()
        given = {a.name for a in node.attribute}
        missing = defaults.get((node.domain, node.op_type, node.overload), [])
        node.attribute.extend(a for a in missing if a.name not in given)
        for attribute in node.attribute:
            waiting += [*attribute.g.node, *(child for graph in attribute.graphs for child in graph.node)]


# ---------------------------------------------------------------------------------------------------------- inputs


def _type_inputs(model: onnx_ir.Model, proto: onnx.GraphProto, input_shapes: ShapeSpecs | None) -> None:
    infos = {i.name: i for i in proto.input}
    names = [v.name or "" for v in model.graph.inputs]
    declared = _DeclaredDims()
    for value in model.graph.inputs:
        kind = infos[value.name or ""].type
        if kind.WhichOneof("value") in ("sequence_type", "optional_type"):
            set_value_type(value, _element_type(kind, value.name or ""))
    tensors = [n for n in names if infos[n].type.WhichOneof("value") not in ("sequence_type", "optional_type")]
    types = {n: TensorType(_dtype(infos[n]), declared.shape(infos[n])) for n in tensors}
    apply_shapes(model, types, input_shapes, declared.ranges(_saved_ranges(model)))


def _element_type(kind: onnx.TypeProto, name: str) -> ValueType:
    """The type of an input that may be no tensor; what a file says about shapes within it is not relied on."""
    match kind.WhichOneof("value"):
        case "sequence_type":
            element = _element_type(kind.sequence_type.elem_type, name)
            if isinstance(element, TensorType):
                return SequenceOf(element)
        case "optional_type":
            element = _element_type(kind.optional_type.elem_type, name)
            if not isinstance(element, OptionalOf):
                return OptionalOf(element)
        case "tensor_type":
            return TensorType(onnx_ir.DataType(kind.tensor_type.elem_type), _shape_within(kind.tensor_type))
    raise ModelFormatError(f"input {name!r} is of a kind that cannot be used")


def _shape_within(kind: onnx.TypeProto.Tensor) -> Shape | None:
    """The dims of a list's tensors: each may have its own where the file gives no number."""
    if not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.dim_value > 0 else ELEMENT for d in kind.shape.dim)


def _dtype(info: onnx.ValueInfoProto) -> onnx_ir.DataType:
    if not info.type.HasField("tensor_type"):
        kind = info.type.WhichOneof("value") or "nothing"
        raise UnsupportedOperatorError(f"input {info.name!r} is declared as {kind}; only tensors can be inputs")
    code = info.type.tensor_type.elem_type
    try:
        dtype = onnx_ir.DataType(code)
    except ValueError:
        dtype = onnx_ir.DataType.UNDEFINED
    if dtype == onnx_ir.DataType.UNDEFINED:
        raise ModelFormatError(f"input {info.name!r} has the element type {code}, which cannot be used")
    return dtype


class _DeclaredDims:
    """The dims a file gives its inputs, as symbols with distinct names."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}  # dim_param -> symbol

    def shape(self, info: onnx.ValueInfoProto) -> Shape | None:
        """None when the file gives no rank.  Negative sizes are how some exporters write `unknown`; 0 is a size."""
        if not info.type.tensor_type.HasField("shape"):
            return None
        dims: list[Dim] = []
        for i, dim in enumerate(info.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value >= 0:
                dims.append(dim.dim_value)
            else:
                dims.append(symbol(self._name(dim.dim_param or f"{info.name}_d{i}")))
        return tuple(dims)

    def _name(self, text: str) -> str:
        if text not in self.names:
            name = sanitise(text)
            while name in self.names.values():
                name += "_"
            self.names[text] = name
        return self.names[text]

    def ranges(self, saved: Mapping[str, tuple[int, int | None]]) -> dict[str, tuple[int, int | None]]:
        """The ranges of the file's symbols: those it was saved with, else no bound."""
        return {name: saved.get(name, ANY) for name in self.names.values()}


def _saved_ranges(model: onnx_ir.Model) -> dict[str, tuple[int, int | None]]:
    """The ranges in the metadata of a file that we wrote; none when they are damaged."""
    try:
        found: Any = ranges_of(model)
        return {str(n): (max(int(low), 1), None if high is None else int(high)) for n, (low, high) in found.items()}
    except (ValueError, TypeError, AttributeError):
        raise ModelFormatError(f"its metadata {RANGES_KEY!r} is damaged") from None
