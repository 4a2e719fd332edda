"""Sliding windows: what convolution and pooling share about padding, strides and output sizes."""

from __future__ import annotations

from dataclasses import dataclass

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.ir.dims import Dim, bounds, ceildiv, dim_max, dim_min
from magicmind.ir.types import Shape
from magicmind.ops.registry import NodeView


@dataclass(frozen=True)
class Window:
    """A window over the spatial dims, one entry per axis.

    `pads_begin` and `pads_end` are resolved: `auto_pad` is already in them; SAME with a symbolic input gives symbolic
    pads.  `output` are the sizes that result.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: Shape
    pads_end: Shape
    output: Shape


def window_of(node: NodeView, spatial: Shape, kernel: tuple[int, ...], *, ceil_mode: bool = False) -> Window:
    """The window an ONNX Conv or pooling node slides over `spatial`.  Raises ModelFormatError, ShapeError."""
    rank = len(spatial)
    strides = per_axis(node, "strides", rank, 1, lowest=1)
    dilations = per_axis(node, "dilations", rank, 1, lowest=1)
    pads = per_axis(node, "pads", 2 * rank, 0, lowest=None)
    auto_pad = node.attr("auto_pad", "NOTSET")
    begin: list[Dim] = []
    end: list[Dim] = []
    output: list[Dim] = []
    for i, size in enumerate(spatial):
        extent = (kernel[i] - 1) * dilations[i] + 1
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            result = ceildiv(size, strides[i])
            low, high = same_pads(size, result, extent, strides[i], upper=auto_pad == "SAME_UPPER")
        elif auto_pad in ("NOTSET", "VALID"):
            low, high = (pads[i], pads[rank + i]) if auto_pad == "NOTSET" else (0, 0)
            result = output_size(size, low, high, extent, strides[i], ceil_mode=ceil_mode)
        else:
            raise ModelFormatError(
                f"attribute 'auto_pad' is {auto_pad!r}", hint="NOTSET, VALID, SAME_UPPER, SAME_LOWER"
            )
        if (bounds(result, {})[1] or 1) < 0 or (isinstance(result, int) and result < 0):
            raise ShapeError(f"a window of {extent} does not fit into {size} plus padding {low} and {high}")
        begin.append(low)
        end.append(high)
        output.append(result)
    return Window(kernel, strides, dilations, tuple(begin), tuple(end), tuple(output))


def output_size(size: Dim, begin: Dim, end: Dim, extent: int, stride: int, *, ceil_mode: bool) -> Dim:
    """How many windows of `extent` fit.

    Rounding up, the last window must still start inside the input or its leading padding.
    """
    room = size + begin + end - extent
    if not ceil_mode:
        return room // stride + 1
    return dim_min(ceildiv(room, stride) + 1, (size + begin - 1) // stride + 1)


def same_pads(size: Dim, output: Dim, extent: int, stride: int, *, upper: bool) -> tuple[Dim, Dim]:
    """The padding that makes `output` windows fit; the odd one goes to the end when `upper`."""
    total = dim_max((output - 1) * stride + extent - size, 0)
    small = total // 2
    return (small, total - small) if upper else (total - small, small)


def per_axis(node: NodeView, name: str, count: int, default: int, *, lowest: int | None) -> tuple[int, ...]:
    """A list attribute with `count` entries, all `default` when absent.  Raises ModelFormatError."""
    found = node.ints_attr(name)
    if not found:
        return (default,) * count
    if len(found) != count:
        raise ModelFormatError(f"attribute {name!r} is {found}; {count} entries are needed")
    if lowest is not None and min(found) < lowest:
        raise ModelFormatError(f"attribute {name!r} is {found}; entries must be at least {lowest}")
    return tuple(found)


def static_kernel(dims: Shape) -> tuple[int, ...]:
    """Kernel sizes from a weight's shape.  Raises ShapeError when one is symbolic or not positive."""
    sizes = tuple(d for d in dims if isinstance(d, int) and d > 0)
    if len(sizes) != len(dims):
        raise ShapeError(f"kernel sizes {', '.join(map(str, dims))} must be known and positive")
    return sizes
