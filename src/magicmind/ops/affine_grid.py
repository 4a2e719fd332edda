"""AffineGrid: positions of the output's pixels times an affine matrix.  ONNX operator AffineGrid-20."""

from __future__ import annotations

import numpy as np

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.types import TensorType
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import NodeView, Op

affine_grid = Op("AffineGrid")


@affine_grid.expand
def expand_affine_grid(e: Expansion) -> list[Value]:
    """theta [N, r, r + 1] and a size [N, C, spatial...] known now give [N, spatial..., r]; x comes first."""
    theta = e.input(0)
    size = e.view.need_ints(1, "size")
    spatial, corners = size[2:], bool(e.view.attr("align_corners", 0))
    axes = [_positions(n, corners) for n in spatial]
    grid = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(spatial)], axis=-1)
    points = e.const(grid.reshape(-1, len(spatial) + 1).T, e.type(theta).dtype.numpy())
    moved = e.op("Transpose", e.op("MatMul", theta, points), perm=[0, 2, 1])
    return [e.reshape(moved, e.dim(theta, 0), *spatial, len(spatial))]


@affine_grid.late
def late_affine_grid(node: NodeView) -> list[TensorType]:
    """With a size that only the run time knows; its number of elements tells the rank."""
    theta, size = node.input(0), node.input(1).size
    if not isinstance(size, int):
        raise UnsupportedOperatorError("not even the rank is known: the size has an unforeseen length")
    spatial = tuple(node.unknown(0, i) for i in range(1, size - 1))
    return [TensorType(theta.dtype, (theta.dims[0], *spatial, size - 2))]


def _positions(count: int, corners: bool) -> np.ndarray:
    """-1..1 over the centres of the outermost pixels (`corners`), or over their outer edges."""
    if corners:
        return np.linspace(-1, 1, count) if count > 1 else np.full(1, -1.0)
    return (2 * np.arange(count) + 1) / count - 1
