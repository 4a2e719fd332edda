"""Where the parts of a concatenation can be written straight into the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

from magicmind.ir.dims import DATA_PREFIX, Dim, product, symbols_of
from magicmind.ops.registry import lookup

Shape = tuple[Dim, ...]


def concat_places(
    graph: ir.Graph, physical_shape: Callable[[ir.Value], Shape]
) -> Iterator[tuple[ir.Value, ir.Value, Dim]]:
    """(part, result, elements before the part) for every part that lies in one run of the result's memory.

    That is so when all axes before the concatenated one have one element, and the result's size is known when the part
    is written: it has no size from a host step that the part lacks. A result that is itself a part of another one comes
    after it.
    """
    for node in reversed(list(graph)):
        if node.op_type != "Concat" or node.domain:
            continue
        result = node.outputs[0]
        shape = physical_shape(result)
        axis = node.attributes["axis"].as_int() % len(result.shape or shape)
        if any(d != 1 for d in shape[:axis]):
            continue
        inner = product(shape[axis + 1 :])
        start: Dim = 0
        for part in node.inputs:
            assert part is not None
            if _is_computed(part) and _late(shape) <= _late(physical_shape(part)):
                yield part, result, start * inner
            start = start + physical_shape(part)[axis]


def _late(shape: Shape) -> frozenset[str]:
    """The sizes that only host steps give."""
    names = frozenset[str]().union(*map(symbols_of, shape))
    return frozenset(name for name in names if name.startswith(DATA_PREFIX))


def _is_computed(value: ir.Value) -> bool:
    """Whether a kernel of ours writes the value."""
    producer = value.producer()
    op = lookup(producer.domain, producer.op_type) if producer is not None else None
    return op is not None and op.lower_rule is not None and op.host_name is None
