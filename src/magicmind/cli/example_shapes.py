"""Sizes for the mutable dims of a graph's inputs, where the user gives none and something is to be run."""

from __future__ import annotations

from collections.abc import Mapping

from magicmind.graph import Graph
from magicmind.ir.dims import evaluate, symbols_of
from magicmind.ir.types import TensorType, ranges_of, value_type_of

EXAMPLE = 32
"""A size at which windows, strides and attention all have something to do."""


def example_shapes(graph: Graph, given: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """A shape for every tensor among the inputs, `given` included.

    A symbol has one size in all inputs: what `given` says, else its least (but not 0) where it is the first dim of the
    first input that has it, mostly the batch, else `EXAMPLE` or what its range has nearest to that.
    """
    types = {v.name or "": t for v in graph.model.graph.inputs if isinstance(t := value_type_of(v), TensorType)}
    sizes = {
        str(dim): size
        for name, shape in given.items()
        for dim, size in zip(types[name].shape or () if name in types else (), shape, strict=False)
    }
    ranges = ranges_of(graph.model)
    for t in types.values():
        for axis, dim in enumerate(t.shape or ()):
            for name in sorted(symbols_of(dim)):
                low, high = ranges.get(name, (1, None))
                size = max(low, 1) if axis == 0 else max(low, EXAMPLE if high is None else min(high, EXAMPLE))
                sizes.setdefault(name, size)
    shapes = {name: tuple(evaluate(dim, sizes) for dim in t.shape or ()) for name, t in types.items()}
    return shapes | dict(given)
