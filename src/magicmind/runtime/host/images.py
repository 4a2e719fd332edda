"""Grids, images from columns, and pooling of regions, where a size is only known at run time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from magicmind.runtime.host import Array, HostCall, host


@host("AffineGrid")
def affine_grid(call: HostCall) -> Sequence[Any]:
    """theta [N, r, r + 1] at every pixel of a size [N, C, spatial...]: [N, spatial..., r], x first."""
    theta, size = call.inputs
    spatial = [int(n) for n in size[2:]]
    corners = bool(call.attr("align_corners", 0))
    grid = np.meshgrid(*(_positions(n, corners) for n in spatial), indexing="ij")[::-1]
    points = np.stack([*grid, np.ones(spatial)], axis=-1).reshape(-1, len(spatial) + 1)
    moved = points @ theta.astype(np.float64).transpose(0, 2, 1)
    return [moved.reshape(len(theta), *spatial, len(spatial)).astype(theta.dtype)]


def _positions(count: int, corners: bool) -> Array:
    """-1..1 over the centres of the outermost pixels (`corners`), or over their outer edges."""
    if corners:
        return np.linspace(-1, 1, count) if count > 1 else np.full(1, -1.0)
    return (2 * np.arange(count) + 1) / count - 1


@host("Col2Im")
def col_to_im(call: HostCall) -> Sequence[Any]:
    """[N, C * block, windows] to [N, C, image...]: what falls on one pixel is summed."""
    x = call.inputs[0]
    image, block = ([int(n) for n in v] for v in call.inputs[1:3])
    rank = len(image)
    strides, dilations = (list(call.attr(name) or [1] * rank) for name in ("strides", "dilations"))
    pads = list(call.attr("pads") or [0] * (2 * rank))
    padded = [n + a + b for n, a, b in zip(image, pads[:rank], pads[rank:], strict=True)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, block, strict=True)]
    windows = [(n - r) // s + 1 for n, r, s in zip(padded, reach, strides, strict=True)]
    columns = x.reshape(x.shape[0], -1, *block, *windows)
    result = np.zeros((*columns.shape[:2], *padded), x.dtype)
    for tap in product(*map(range, block)):
        places = zip(tap, dilations, strides, windows, strict=True)
        cut = tuple(slice(t * d, t * d + s * (w - 1) + 1, s) for t, d, s, w in places)
        result[(slice(None), slice(None), *cut)] += columns[(slice(None), slice(None), *tap)]
    inner = tuple(slice(a, a + n) for a, n in zip(pads[:rank], image, strict=True))
    return [result[(slice(None), slice(None), *inner)]]


@host("MaxRoiPool")
def max_roi_pool(call: HostCall) -> Sequence[Any]:
    """The largest element in each cell of a grid over each region [image, left, top, right, bottom]; 0 where empty."""
    x, regions = call.inputs
    rows, columns = call.attr("pooled_shape")
    scale = call.attr("spatial_scale", 1.0)
    result = np.zeros((len(regions), x.shape[1], rows, columns), x.dtype)
    for region, found in zip(regions, result, strict=True):
        left, top, right, bottom = (int(np.floor(v * scale + 0.5)) for v in region[1:])
        image = x[int(region[0])]
        vertical = _cells(top, bottom, rows, image.shape[1])
        horizontal = _cells(left, right, columns, image.shape[2])
        for (i, (y0, y1)), (j, (x0, x1)) in product(enumerate(vertical), enumerate(horizontal)):
            if y1 > y0 and x1 > x0:
                found[:, i, j] = image[:, y0:y1, x0:x1].max(axis=(1, 2))
    return [result]


def _cells(first: int, last: int, count: int, limit: int) -> list[tuple[int, int]]:
    """Start and end of each of `count` cells of first..last (inclusive, one element at least), within 0..limit."""
    size = max(last - first + 1, 1) / count
    edges = [(first + int(np.floor(i * size)), first + int(np.ceil((i + 1) * size))) for i in range(count)]
    return [(min(max(a, 0), limit), min(max(b, 0), limit)) for a, b in edges]
