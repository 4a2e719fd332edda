"""TensorScatter: new keys or values written into a cache, per batch entry at its own place.  ONNX TensorScatter-24."""

from __future__ import annotations

from onnx_ir import DataType

from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import Op, normalise_axis
from magicmind.ops.shapes import same_dim

tensor_scatter = Op("TensorScatter")


@tensor_scatter.expand
def expand(e: Expansion) -> list[Value]:
    """past_cache, update, write_indices [batch]?; `circular` wraps around at the end of the cache."""
    cache, update = e.input(0), e.input(1)
    rank = e.rank(cache)
    axis = normalise_axis(e.view.attr("axis", -2), rank)
    for i, (a, b) in enumerate(zip(e.shape(update), e.shape(cache), strict=True)):
        if i != axis:
            same_dim(a, b, f"axis {i} of the update and the cache")
    places = e.unsqueeze(e.count_up(e.dim(update, axis)), *range(1, rank - axis))
    if e.has(2):
        first = e.cast(e.input(2), DataType.INT64)
        places = e.op("Add", places, e.unsqueeze(first, *range(1, rank)))
    if e.view.attr("mode", "linear") == "circular":
        places = e.op("Mod", places, e.squeeze(e.dim(cache, axis), 0))
    indices = e.op("Expand", places, e.op("Shape", update))
    return [e.op("ScatterElements", cache, indices, update, axis=axis)]
