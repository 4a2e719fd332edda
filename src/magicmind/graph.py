"""The graph as users hold it: what `parse` returns and `build` takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np
import onnx_ir

from magicmind import files
from magicmind.errors import Error, ShapeError
from magicmind.ir.dims import bounds
from magicmind.ir.input_shapes import apply_shapes, settle_shapes
from magicmind.ir.shape_spec import Range, ShapeSpecs, by_name
from magicmind.ir.types import SequenceOf, TensorType, ValueType, ranges_of, set_ranges, value_type_of
from magicmind.ops.shapes import MustEqual
from magicmind.passes.equal_symbols import LIMITED_KEY, SAME_KEY, unify_types
from magicmind.passes.infer_types import infer_types
from magicmind.source import Source
from magicmind.tensorinfo import TensorInfo


class Graph:
    """A network in the unified form.  Every value of its `model` has its type."""

    def __init__(self, model: onnx_ir.Model) -> None:
        """Infers all types.  Raises UnsupportedOperatorError, ShapeError, ModelFormatError."""
        infer_types(model)
        self._model = model

    @property
    def model(self) -> onnx_ir.Model:
        """The onnx-ir model."""
        return self._model

    @property
    def inputs(self) -> list[TensorInfo]:
        """Name, dtype and shape of every input; a mutable dim is `(min, max)`, max None without bound."""
        return self._infos(self.model.graph.inputs)

    @property
    def outputs(self) -> list[TensorInfo]:
        """Likewise for the outputs."""
        return self._infos(self.model.graph.outputs)

    def with_shapes(self, shapes: ShapeSpecs) -> Graph:
        """The same network for other input shapes; weights are shared, all else is inferred anew.

        Raises ShapeError for shapes that the inputs or the operators cannot have.
        """
        model = self.model.clone()
        for key in (SAME_KEY, LIMITED_KEY):
            model.metadata_props.pop(key, None)
        types = {v.name or "": t for v in model.graph.inputs if isinstance(t := _typed(v), TensorType)}
        apply_shapes(model, types, shapes, ranges_of(model))
        return Graph(model)

    def edited(self, edit: Callable[[onnx_ir.Model], None]) -> Graph:
        """A copy that `edit` has changed in place (passes/ends.py): other layouts, dtypes, a normalisation in front.

        Raises what `edit` raises, and ShapeError where the result does not fit together.
        """
        model = self.model.clone()
        edit(model)
        return Graph(model)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the graph as an ONNX file, replacing an older one in one step.

        Raises Error when the file cannot be written or would pass the 2 GiB that one ONNX file can hold.
        """
        try:
            data = onnx_ir.to_proto(self.model).SerializeToString()
        except ValueError as error:
            raise Error(f"{path}: the graph does not fit into one ONNX file: {error}") from error
        try:
            files.replace(Path(path), (data,))
        except OSError as error:
            raise Error(
                f"{path} cannot be written: {error.strerror or error}", hint="check the folder, its rights and space"
            ) from error

    def __repr__(self) -> str:
        signature = ", ".join(f"{i.name}: {i.dtype}{list(i.shape)}" for i in self.inputs)
        return f"Graph({signature}; {len(self.model.graph)} nodes)"

    def _infos(self, values: Sequence[onnx_ir.Value]) -> list[TensorInfo]:
        ranges = ranges_of(self.model)
        return [tensor_info(v.name or "", _typed(v), ranges) for v in values]


class SourceGraph(Graph):
    """A network of a framework other than ONNX: for other input shapes its source is converted anew.

    As long as the rank of an input is unknown there is no `model`; `with_shapes`, or `shapes` of `build`, make one.
    So it is where a file leaves sizes open that its operators cannot all have.
    """

    def __init__(
        self, source: Source, types: Mapping[str, TensorType], ranges: Mapping[str, Range], *, may_wait: bool = False
    ) -> None:
        """Converts the source, if all ranks are known; `may_wait` for shapes where these are open and do not fit.

        Raises UnsupportedOperatorError, ShapeError, ModelFormatError.
        """
        self._source = source
        self._types = dict(types)
        self._ranges = dict(ranges)
        self._unknown = [name for name, t in types.items() if t.shape is None]
        self._misfit: ShapeError | None = None
        if self._unknown:
            return
        try:
            model = self._converted()
            set_ranges(model, self._ranges)
            super().__init__(model)
        except ShapeError as error:
            self._unknown = [name for name, t in types.items() if not t.is_static]
            if not may_wait or not self._unknown:
                raise
            self._misfit = error

    def _converted(self) -> onnx_ir.Model:
        """Converts the source; where its operators ask for two dims to be equal, the inputs' symbols become one."""
        while True:
            try:
                return self._source.convert(self._types, self._ranges)
            except MustEqual as error:
                found = unify_types(self._types, self._ranges, error.a, error.b)
                if found is None:
                    notes = " ".join(getattr(error, "__notes__", ()))
                    raise ShapeError(
                        f"{error.what}: dimensions {error.a} and {error.b} have to be equal {notes}".strip(),
                        hint="give both inputs the same name for it, as in 'n=1..64', or other shapes",
                    ) from error
                self._types, self._ranges = found

    @classmethod
    def of(
        cls,
        source: Source,
        shapes: ShapeSpecs | None = None,
        ranges: Mapping[str, Range] | None = None,
        *,
        may_wait: bool = False,
    ) -> SourceGraph:
        """The graph of a source just read, with `shapes` in place of what it declares; `ranges` are of its symbols."""
        return cls(source, *_settle(source.inputs, shapes, ranges or {}), may_wait=may_wait)

    @property
    def source(self) -> Source:
        """What is converted."""
        return self._source

    @property
    def ranges(self) -> Mapping[str, Range]:
        """The ranges of the inputs' symbols."""
        return self._ranges

    @property
    def model(self) -> onnx_ir.Model:
        """The onnx-ir model.  Raises ShapeError while the rank of an input is unknown, or its sizes do not fit."""
        if self._misfit is not None:
            text = shorten(str(self._misfit).partition("\n")[0], 300)
            raise ShapeError(
                f"the sizes of input {', '.join(map(repr, self._unknown))} are open, and not all of them fit: {text}",
                hint="give input_shapes to parse or shapes to build, as numbers or narrower ranges",
            ) from self._misfit
        if self._unknown:
            raise ShapeError(
                f"the shape of input {', '.join(map(repr, self._unknown))} is not known: the file does not say it",
                hint='give input_shapes to parse or shapes to build, as in shapes={"' + self._unknown[0] + '": (1, 3)}',
            )
        return super().model

    @property
    def inputs(self) -> list[TensorInfo]:
        """As of `Graph`; without dims where the rank is unknown."""
        if not self._unknown:
            return super().inputs
        return [tensor_info(name, t, self._ranges) for name, t in self._types.items()]

    def with_shapes(self, shapes: ShapeSpecs) -> SourceGraph:
        """The same network for other input shapes, converted from its source."""
        given = by_name(shapes, list(self._types))
        free = {name: t for name, t in self._source.inputs.items() if name in given and t.shape is None}
        return SourceGraph(self._source, *_settle(self._types | free, given, self._ranges))

    def __repr__(self) -> str:
        if not self._unknown:
            return super().__repr__()
        return f"SourceGraph({', '.join(f'{name}: {t}' for name, t in self._types.items())}; shapes to be given)"


def _settle(
    types: Mapping[str, TensorType], shapes: ShapeSpecs | None, ranges: Mapping[str, Range]
) -> tuple[dict[str, TensorType], dict[str, Range]]:
    """`settle_shapes`, leaving inputs open whose rank neither the file nor `shapes` gives."""
    given = by_name(shapes, list(types))
    open_ = {name: t for name, t in types.items() if t.shape is None and name not in given}
    settled, new_ranges = settle_shapes({n: t for n, t in types.items() if n not in open_}, given, ranges)
    return {name: settled.get(name, t) for name, t in types.items()}, new_ranges


def tensor_info(name: str, t: ValueType, ranges: dict[str, tuple[int, int | None]]) -> TensorInfo:
    """`t` with every symbolic dim as the (min, max) it can have; no dims where not even the rank is known."""
    kind, element = "tensor", t
    while not isinstance(element, TensorType):
        kind, element = "sequence" if isinstance(element, SequenceOf) else "optional", element.element
    dtype = np.dtype(object) if element.dtype == onnx_ir.DataType.STRING else element.dtype.numpy()
    shape = tuple(d if isinstance(d, int) else bounds(d, ranges) for d in element.shape or ())
    return TensorInfo(name, dtype, shape, kind)


def _typed(value: onnx_ir.Value) -> ValueType:
    t = value_type_of(value)
    assert t is not None, f"{value.name} has no type"
    return t
