"""magicmind.ByteTable(x, table): any function of a quantised value, written out.

x is uint8 or int8, `table` a constant of 256 uint8; y = table[x] is uint8. An int8 counts by its bits: -1 is entry 255.
Sigmoid, SiLU and the like between two quantised values are such tables, the same on every target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import product
from magicmind.ir.types import TensorType
from magicmind.kernels.byte_table import ByteTable
from magicmind.lower.lowering import Lowering
from magicmind.ops.registry import Array, NodeView, Op

byte_table = Op("ByteTable", "magicmind")


@byte_table.infer
def infer(node: NodeView) -> list[TensorType]:
    """uint8 in the shape of x."""
    x, table = node.input(0), node.input(1)
    if x.dtype not in (DataType.UINT8, DataType.INT8) or table != TensorType(DataType.UINT8, (256,)):
        raise ShapeError(f"a table of 256 uint8 for bytes is needed, not {table} for {x}")
    return [TensorType(DataType.UINT8, x.shape)]


@byte_table.reference
def reference(node: ir.Node, arrays: Sequence[Array | None]) -> list[Array]:
    """By numpy's indexing."""
    x, table = (np.asarray(a) for a in arrays)
    return [table[x.view(np.uint8)]]


@byte_table.lower
def lower(low: Lowering, node: ir.Node) -> None:
    """One pass over memory, in any layout; the result may take the argument's place."""
    x, table, out = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None and table is not None
    if low.const(table) is None:
        raise UnsupportedOperatorError(f"{low.describe_node(node)}: the table has to be constant")
    low.reuse(out, x)
    p = low.params()
    count = product(low.physical_shape(x))
    refs = [low.ref(x), low.ref(table), low.ref(out)]
    low.call(node, ByteTable(p.size(count)), refs, p, flops=count, bytes=2 * count)
