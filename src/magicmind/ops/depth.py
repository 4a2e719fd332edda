"""DepthToSpace and SpaceToDepth.  ONNX operators of opset 13."""

from __future__ import annotations

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.ir.dims import Dim, exact_div
from magicmind.ir.types import TensorType
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank

depth_to_space = Op("DepthToSpace").half()
space_to_depth = Op("SpaceToDepth").half()


def block_size(node: NodeView) -> int:
    """The attribute `blocksize`, at least 1."""
    size = node.attr("blocksize", 0)
    if size < 1:
        raise ModelFormatError(f"attribute 'blocksize' is {size}; it must be at least 1")
    return size


def need_mode(node: NodeView) -> None:
    """Checks the attribute `mode` (which SpaceToDepth has since operator set 28)."""
    if node.attr("mode", "DCR") not in ("DCR", "CRD"):
        raise ModelFormatError(f"attribute 'mode' is {node.attr('mode')!r}", hint="DCR or CRD")


@depth_to_space.infer
def infer_depth_to_space(node: NodeView) -> list[TensorType]:
    """[N, C, H, W] gives [N, C/(b*b), H*b, W*b]."""
    x, b = need_rank(node.input(0), 4, 4), block_size(node)
    need_mode(node)
    n, c, h, w = x.dims
    return [TensorType(x.dtype, (n, _divide(c, b * b, "channels"), h * b, w * b))]


@space_to_depth.infer
def infer_space_to_depth(node: NodeView) -> list[TensorType]:
    """[N, C, H, W] gives [N, C*b*b, H/b, W/b]."""
    x, b = need_rank(node.input(0), 4, 4), block_size(node)
    need_mode(node)
    n, c, h, w = x.dims
    return [TensorType(x.dtype, (n, c * b * b, _divide(h, b, "rows"), _divide(w, b, "columns")))]


def _divide(dim: Dim, by: int, what: str) -> Dim:
    exact = exact_div(dim, by)
    if exact is None and isinstance(dim, int):
        raise ShapeError(f"{dim} {what} are no multiple of {by}")
    return dim // by if exact is None else exact
