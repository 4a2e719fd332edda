"""The graph of a sample as it is built: pictures as NHWC go in, normalisation is its first step."""

from __future__ import annotations

from onnx_ir import DataType

from magicmind.graph import Graph
from magicmind.ir.types import type_of
from magicmind.passes import ends
from magicmind.zoo.preparation import Preparation


def for_pictures(graph: Graph, preparation: Preparation, *, channels_last: bool) -> Graph:
    """The same network for pictures [N, H, W, 3]; `channels_last` where it reads them so already.

    It takes uint8 where it normalises them itself. Class numbers come out as int32, whatever they are inside.
    """
    model = graph.model.clone()
    if preparation.inside and preparation.mean is not None and preparation.std is not None:
        variance = [s * s for s in preparation.std]
        ends.normalise_input(model, 0, preparation.mean, variance, axis=3 if channels_last else 1)
    if not channels_last:
        ends.lay_out_input(model, 0, ends.layout_order("NCHW", "NHWC"))
    for i, value in enumerate(model.graph.outputs):
        kind = type_of(value)
        if kind is not None and kind.dtype == DataType.INT64:
            ends.cast_output(model, i, DataType.INT32)
    return Graph(model)
