"""A costly function from bytes to bytes becomes a table of its 256 results."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.scalar import is_cheap
from magicmind.ir.types import dtype_of
from magicmind.passes.edit import DOMAIN, add_constant, graph_of, replace_node
from magicmind.passes.fuse_elementwise import program_of
from magicmind.passes.infra import Decline, Rewrite


class FuseByteTable(Rewrite[npt.NDArray[np.uint8]]):
    """Elementwise of one tensor of bytes, with elementary functions, becomes magicmind.ByteTable."""

    roots = frozenset({f"{DOMAIN}.Elementwise"})

    def match(self, node: onnx_ir.Node) -> npt.NDArray[np.uint8] | Decline:
        (x, *others), out = node.inputs, node.outputs[0]
        if others or x is None or dtype_of(x) not in (DataType.UINT8, DataType.INT8):
            return Decline("it reads more than one tensor of bytes")
        if dtype_of(out) != DataType.UINT8:
            return Decline("its results are no bytes")
        program = program_of(node)
        if is_cheap(program):
            return Decline("computing it is as fast as a table")
        every = np.arange(256, dtype=np.uint8).view(np.uint8 if dtype_of(x) == DataType.UINT8 else np.int8)
        return np.ascontiguousarray(np.broadcast_to(program.evaluate({"x0": every}), (256,)))

    def rewrite(self, node: onnx_ir.Node, found: npt.NDArray[np.uint8]) -> None:
        table = add_constant(graph_of(node), found, f"{node.name}.table")
        replace_node(node, "ByteTable", [node.inputs[0], table], domain=DOMAIN)
