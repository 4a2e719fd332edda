"""What may read and write types of fewer than 8 bits and 8-bit floats: casts, and whatever only moves elements."""

from __future__ import annotations

import onnx_ir as ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.ir.narrow import NARROW
from magicmind.ir.types import dtype_name

_MOVES = frozenset({
    "Elementwise",  # programs of casts and selections: passes/to_elementwise.py lets no other in
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Concat", "Expand", "Tile",
    "Gather", "GatherElements", "GatherND", "Pad", "DepthToSpace", "SpaceToDepth", "Constant", "ConstantOfShape",
    "Shape", "Size", "BitCast", "Compress", "ReverseSequence", "If", "Loop", "Scan", "SequenceConstruct",
    "SequenceEmpty", "SequenceAt", "SequenceErase", "SequenceInsert", "SequenceLength", "ConcatFromSequence",
    "SplitToSequence", "Optional", "OptionalHasElement", "OptionalGetElement",
})  # fmt: skip


def refuse_arithmetic(node: ir.Node) -> None:
    """Raises UnsupportedOperatorError for a node that computes with numbers of a narrow type."""
    if node.op_type in _MOVES:
        return
    for role, values in (("input", node.inputs), ("output", node.outputs)):
        for i, value in enumerate(values):
            if value is not None and value.dtype in NARROW:
                raise UnsupportedOperatorError(
                    f"{node.name} ({node.op_type}): {role} {i} is {dtype_name(value.dtype)}, which {node.op_type} "
                    "does not compute with",
                    hint="types of 2 to 6 bits and 8-bit floats are moved and cast: insert a Cast or DequantizeLinear",
                )
