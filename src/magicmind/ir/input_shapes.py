"""The shapes of a graph's inputs: what the file declares, overridden by what the user asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir

from magicmind.errors import ShapeError
from magicmind.ir.dims import Dim, substitute
from magicmind.ir.shape_spec import ANY, DimSpec, Range, ShapeSpecs, SymbolTable, by_name, parse_dim_spec, sanitise
from magicmind.ir.types import Shape, TensorType, set_ranges, set_type


def apply_shapes(
    model: onnx_ir.Model,
    types: Mapping[str, TensorType],
    input_shapes: ShapeSpecs | None,
    ranges: Mapping[str, Range],
) -> None:
    """Writes the types of the inputs, with `input_shapes` in place of what `types` says, and the symbols' ranges.

    Raises ShapeError naming the input, the dim and the text that does not fit.
    """
    settled, ranges = settle_shapes(types, input_shapes, ranges)
    for value in model.graph.inputs:
        if value.name in settled:  # else it is no tensor
            set_type(value, settled[value.name])
    set_ranges(model, ranges)


def settle_shapes(
    types: Mapping[str, TensorType], input_shapes: ShapeSpecs | None, ranges: Mapping[str, Range]
) -> tuple[dict[str, TensorType], dict[str, Range]]:
    """The types of inputs, with `input_shapes` in place of what `types` says, and the ranges of their symbols.

    Raises ShapeError as `apply_shapes`, and for an input whose rank nobody gave.
    """
    table = SymbolTable()
    wanted = by_name(input_shapes, list(types))
    shapes: dict[str, Shape] = {}
    for name, t in types.items():
        shapes[name] = _override(name, t.shape, wanted[name], table) if name in wanted else _declared(name, t.shape)
    used = {s for shape in shapes.values() for d in shape for s in _symbols(d)}
    for s in sorted(used - table.ranges.keys()):
        table.add(s, ranges.get(s, ANY))
    fixed = table.fixed()
    settled = {
        name: TensorType(types[name].dtype, tuple(substitute(d, fixed) for d in shape))
        for name, shape in shapes.items()
    }
    return settled, {s: r for s, r in table.ranges.items() if s in used and s not in fixed}


def _symbols(dim: Dim) -> Sequence[str]:
    return () if isinstance(dim, int) else (str(dim),)  # inputs have plain symbols, never expressions


def _declared(name: str, shape: Shape | None) -> Shape:
    if shape is None:
        raise ShapeError(f"the model does not say how many dimensions input {name!r} has", hint="give its shape")
    return shape


def _override(name: str, shape: Shape | None, specs: Sequence[DimSpec], table: SymbolTable) -> Shape:
    if isinstance(specs, (str, int)) or (shape is not None and len(specs) != len(shape)):
        have = "an unknown shape" if shape is None else f"shape [{', '.join(map(str, shape))}]"
        raise ShapeError(f"input {name!r} has {have}; {specs!r} does not fit")
    dims: list[Dim] = []
    for i, spec in enumerate(specs):
        own = None if shape is None or isinstance(shape[i], int) else str(shape[i])
        try:
            dim, allowed = parse_dim_spec(spec, own or sanitise(f"{name}_d{i}"))
            if allowed is not None:
                table.add(str(dim), allowed)
        except ShapeError as error:
            raise ShapeError(f"input {name!r}, dimension {i}: {error}") from None
        dims.append(dim)
    return tuple(dims)
