"""Lowering of the layout conversions `magicmind.ToBlocked` and `magicmind.ToPlain`."""

from __future__ import annotations

import onnx_ir as ir

from magicmind.codegen.target import BLOCK
from magicmind.ir.dims import product
from magicmind.kernels.reorder import Reorder
from magicmind.lower.lowering import Lowering
from magicmind.ops import fused


@fused.to_blocked.lower
@fused.to_plain.lower
def lower(low: Lowering, node: ir.Node) -> None:
    """A view where both layouts are the same bytes (one pixel, whole blocks), else a copy."""
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    n, c, *spatial = low.shape(x)
    pixels = product(spatial)
    if pixels == 1 and isinstance(c, int) and c % BLOCK == 0 and low.alias(out, low.ref(x)):
        return
    p = low.params()
    spec = Reorder(node.op_type == "ToBlocked", p.size(n), p.size(c), p.size(pixels), low.dtype(x))
    low.call(node, spec, [low.ref(x), low.ref(out)], p, bytes=low.nbytes(x) + low.nbytes(out))
