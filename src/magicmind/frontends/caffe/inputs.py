"""Which blobs of a net come from outside, and of what shape: declared ones, Input layers, and layers that read data."""

from __future__ import annotations

from typing import Any, TypeAlias

from magicmind.errors import ModelFormatError
from magicmind.frontends.caffe.prototxt import Net

Shape: TypeAlias = "tuple[int, ...] | None"

DATA_LAYERS = frozenset(
    {
        "AnnotatedData", "Data", "DenseImageData", "HDF5Data", "ImageData", "ImageSegData", "MemoryData", "VideoData",
        "WindowData",
    }
)  # fmt: skip
"""Layers that read a data base; at inference their tops are inputs."""


def inputs_of(net: Net) -> dict[str, Shape]:
    """All inputs in order; a shape is None where the file does not give one (or one with sizes of 0 or -1)."""
    found = dict(net.inputs)
    for layer in net.layers:
        if layer.type == "Input":
            found |= dict(zip(layer.top, _input_shapes(layer), strict=True))
        elif is_input(layer) and layer.top:
            found |= {str(top): None for top in layer.top}
            found[str(layer.top[0])] = _data_shape(layer, net)
    return {name: shape if shape and min(shape) > 0 else None for name, shape in found.items()}


def is_input(layer: Any) -> bool:
    """Whether the layer only declares inputs."""
    return layer.type == "Input" or reads_data(layer)


def reads_data(layer: Any) -> bool:
    """Whether the layer's tops come from a data base: one of Caffe's, or of its users' own (`BboxData`, Python)."""
    own = layer.type == "Python" or (layer.type.endswith(("Data", "DataLayer")) and layer.type != "DummyData")
    return layer.type in DATA_LAYERS or (own and not layer.bottom)


def _input_shapes(layer: Any) -> list[Shape]:
    """One shape for each top, one for all, or none."""
    shapes: list[Shape] = [tuple(shape.dim) for shape in layer.input_param.shape]
    if len(shapes) <= 1:
        return (shapes or [None]) * len(layer.top)
    if len(shapes) != len(layer.top):
        raise ModelFormatError(f"layer {layer.name!r} (Input) gives {len(shapes)} shapes for {len(layer.top)} tops")
    return shapes


def _data_shape(layer: Any, net: Net) -> Shape:
    """Batch, channels and the size that images are cut or resized to, where all are said."""
    if layer.type == "MemoryData":
        p = layer.memory_data_param
        return (p.batch_size, p.channels, p.height, p.width)
    for field in ("data_param", "image_data_param", "window_data_param"):
        if not layer.HasField(field):
            continue
        p = getattr(layer, field)
        cut = layer.transform_param.crop_size or p.crop_size
        height, width = (cut, cut) if cut else (p.new_height, p.new_width)
        channels = _channels(layer, p)
        return (p.batch_size or 1, channels, height, width) if height and width and channels else None
    return None


def _channels(layer: Any, p: Any) -> int:
    """What the layer says: grey, colour, or as many as there are means; images are in colour unless it says no."""
    transform = layer.transform_param
    if transform.force_gray or not p.is_color:
        return 1
    if transform.force_color or layer.type in ("ImageData", "WindowData"):
        return 3
    return len(transform.mean_value) if len(transform.mean_value) > 1 else 0
