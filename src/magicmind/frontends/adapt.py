"""What users may choose about a network's ends when they parse it: names, dtypes and layouts.

An input fed in another layout or dtype than the network reads starts with a Cast or a Transpose, which later passes
move or fold; names are just changed. The network inside is converted as if nobody had asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.graph import Graph, SourceGraph
from magicmind.ir.attributes import attributes_of
from magicmind.ir.dims import Dim
from magicmind.ir.shape_spec import Range, ShapeSpecs
from magicmind.ir.types import TensorType, dtype_name, set_type, type_of
from magicmind.source import CHANNELS_FIRST, CHANNELS_LAST, Source

Names = Mapping[str, str] | Sequence[str]

_LAYOUTS = dict.fromkeys(("NCW", "NCHW", "NCDHW"), CHANNELS_FIRST) | dict.fromkeys(
    ("NWC", "NHWC", "NDHWC"), CHANNELS_LAST
)
_DTYPES = {dtype_name(d): d for d in onnx_ir.DataType}


@dataclass(frozen=True)
class Ends:
    """What was asked for, by the network's own names of inputs and outputs."""

    layouts: Mapping[str, str] = field(default_factory=dict)
    dtypes: Mapping[str, onnx_ir.DataType] = field(default_factory=dict)
    input_names: Mapping[str, str] = field(default_factory=dict)
    output_names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        input_layouts: Names | None = None,
        input_dtypes: Names | None = None,
        input_names: Names | None = None,
        output_names: Names | None = None,
    ) -> Ends:
        """By name, or in the order of the network's.  Raises ModelFormatError for unknown names, layouts and dtypes."""
        return cls(
            {name: _layout(text) for name, text in _by_name(input_layouts, inputs, "input").items()},
            {name: _dtype(text) for name, text in _by_name(input_dtypes, inputs, "input").items()},
            _by_name(input_names, inputs, "input"),
            _by_name(output_names, outputs, "output"),
        )

    def __bool__(self) -> bool:
        return bool(self.layouts or self.dtypes or self.input_names or self.output_names)

    def outside(self, name: str, t: TensorType, native: str) -> TensorType:
        """The type users see of an input that the network, whose layout is `native`, reads as `t`."""
        shape = None if t.shape is None else _moved(t.shape, self._order(name, t, native))
        return TensorType(self.dtypes.get(name, t.dtype), shape)

    def inside(self, name: str, t: TensorType, read: onnx_ir.DataType, native: str) -> TensorType:
        """The type the network reads of an input that users see as `t`."""
        return TensorType(read, _moved(t.dims, _inverse(self._order(name, t, native))))

    def _order(self, name: str, t: TensorType, native: str) -> list[int]:
        """outside axis i is the network's axis order[i]."""
        rank = 0 if t.shape is None else t.rank
        wanted = self.layouts.get(name)
        if wanted is None or _LAYOUTS[wanted] == native or t.shape is None:
            return list(range(rank))
        if rank != len(wanted):
            raise ShapeError(f"input {name!r} has {rank} dimensions; the layout {wanted} has {len(wanted)}")
        last, first = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
        return last if native == CHANNELS_FIRST else first

    def apply(self, model: onnx_ir.Model, native: str) -> None:
        """Changes the ends of a model in place; its inputs have their types."""
        graph = model.graph
        for i, value in enumerate(list(graph.inputs)):
            graph.inputs[i] = self._new_input(graph, value, native)
        for value in graph.outputs:
            value.name = self.output_names.get(value.name or "", value.name)

    def _new_input(self, graph: onnx_ir.Graph, value: onnx_ir.Value, native: str) -> onnx_ir.Value:
        name, read = value.name or "", type_of(value)
        new_name = self.input_names.get(name, name)
        if read is None or not (name in self.layouts or name in self.dtypes):
            value.name = new_name
            return value
        outside = self.outside(name, read, native)
        value.name = f"{name}.inside"
        result = onnx_ir.Value(name=new_name)
        set_type(result, outside)
        nodes, current = [], result
        if outside.dtype != read.dtype:
            nodes.append(_node("Cast", current, f"{name}/cast", to=int(read.dtype)))
            current = nodes[-1].outputs[0]
        order = _inverse(self._order(name, outside, native))
        if order != sorted(order):
            nodes.append(_node("Transpose", current, f"{name}/layout", perm=order))
            current = nodes[-1].outputs[0]
        onnx_ir.convenience.replace_all_uses_with(value, current)
        for node in reversed(nodes):
            graph.insert_before(graph[0], node) if len(graph) else graph.append(node)
        return result


def with_ends(graph: Graph, shapes: ShapeSpecs | None, **wanted: Names) -> Graph:
    """The graph with other ends, and `shapes` of the new inputs; `wanted` is what `Ends.of` takes.

    Raises ModelFormatError, ShapeError.
    """
    if isinstance(graph, SourceGraph) and not graph.source.outputs and _names_outputs(wanted):
        # What a program returns is known once it is converted; its inputs then are as `shapes` says.
        graph, shapes = graph if shapes is None else graph.with_shapes(shapes), None
    elif isinstance(graph, SourceGraph):
        source = graph.source
        ends = Ends.of(list(source.inputs), list(source.outputs), **wanted)
        return SourceGraph.of(AdaptedSource(source, ends, source.layout), shapes, ranges=graph.ranges)
    model = graph.model.clone()
    ends = Ends.of([v.name or "" for v in model.graph.inputs], [v.name or "" for v in model.graph.outputs], **wanted)
    ends.apply(model, CHANNELS_FIRST)
    adapted = Graph(model)
    return adapted if shapes is None else adapted.with_shapes(shapes)


def _names_outputs(wanted: Mapping[str, Names]) -> bool:
    return any(key.startswith("output") and value is not None for key, value in wanted.items())


class AdaptedSource:
    """A source with other ends."""

    def __init__(self, source: Source, ends: Ends, native: str) -> None:
        self._source, self._ends, self._native = source, ends, native
        self.layout = native
        self._names = {ends.input_names.get(name, name): name for name in source.inputs}

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """As users see them."""
        return {
            new: self._ends.outside(old, self._source.inputs[old], self._native) for new, old in self._names.items()
        }

    @property
    def outputs(self) -> Sequence[str]:
        """As users see them."""
        return [self._ends.output_names.get(name, name) for name in self._source.outputs]

    def convert(self, inputs: Mapping[str, TensorType], ranges: Mapping[str, Range]) -> onnx_ir.Model:
        """The source's own graph with its ends changed."""
        read = {
            old: self._ends.inside(old, inputs[new], self._source.inputs[old].dtype, self._native)
            for new, old in self._names.items()
        }
        model = self._source.convert(read, ranges)
        self._ends.apply(model, self._native)
        return model


def _moved(shape: Sequence[Dim], order: Sequence[int]) -> tuple[Dim, ...]:
    return tuple(shape[i] for i in order)


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(i) for i in range(len(order))]


def _node(op_type: str, value: onnx_ir.Value, name: str, **attributes: Any) -> onnx_ir.Node:
    node = onnx_ir.Node("", op_type, [value], attributes_of(attributes), name=name)
    node.outputs[0].name = f"{name}.out"
    return node


def _by_name(given: Names | None, known: Sequence[str], what: str) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, str) or (not isinstance(given, Mapping) and len(given) > len(known)):
        raise ModelFormatError(f"{given!r} does not fit the {len(known)} {what}s {', '.join(known)}")
    if not isinstance(given, Mapping):
        return dict(zip(known, given, strict=False))
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ModelFormatError(f"there is no {what} {unknown[0]!r}", hint=f"the {what}s are: {', '.join(known)}")
    return dict(given)


def _layout(text: str) -> str:
    if text.upper() not in _LAYOUTS:
        raise ModelFormatError(f"{text!r} is no layout", hint=f"layouts are {', '.join(_LAYOUTS)}")
    return text.upper()


def _dtype(text: str) -> onnx_ir.DataType:
    if str(text) not in _DTYPES:
        raise ModelFormatError(f"{text!r} is no dtype", hint="dtypes are float32, uint8, int64, float16, ...")
    return _DTYPES[str(text)]
