"""Takes an epilogue off again where one of its operands broadcasts in a way that kernels cannot follow."""

from __future__ import annotations

import onnx_ir as ir

from magicmind.ir.dims import Dim
from magicmind.ir.scalar import ScalarProgram
from magicmind.ir.types import TensorType, const_of, shape_of
from magicmind.ops.fused import accumulator_dtype
from magicmind.ops.operands import operand_kind
from magicmind.ops.registry import NodeView
from magicmind.passes.edit import insert_node, is_op, replace_node, sources_of
from magicmind.passes.infra import Decline, Rewrite


class SplitEpilogue(Rewrite[list[str]]):
    """Conv or MatMul with an operand that no kernel can fuse: the product, then an Elementwise node."""

    roots = frozenset({"magicmind.Conv", "magicmind.MatMul"})

    def match(self, node: ir.Node) -> list[str] | Decline:
        if len(node.inputs) <= 3:
            return Decline("no operands")
        out = shape_of(node.outputs[0])
        assert out is not None
        if all(_can_fuse(node, value, out) for value in node.inputs[3:]):
            return Decline("every operand can be fused")
        return list(node.attributes["epilogue"].as_strings())

    def rewrite(self, node: ir.Node, found: list[str]) -> None:
        attributes = {a.name: a.value for a in node.attributes.values() if a.name != "epilogue"}
        out, dtype = shape_of(node.outputs[0]), accumulator_dtype(NodeView(node))
        assert out is not None
        product = insert_node(
            node, node.op_type, node.inputs[:3], attributes, domain="magicmind", name=node.name,
            types=[TensorType(dtype, out)],
        )  # fmt: skip
        product.metadata_props["magicmind.sources"] = ",".join(sources_of(node))
        inputs = [product.outputs[0], *node.inputs[3:]]
        program = ScalarProgram.parse(found).rename(
            {"acc": "x0", **{f"x{i}": f"x{i + 1}" for i in range(len(inputs) - 1)}}
        )
        replace_node(
            node,
            "Elementwise",
            inputs,
            {"program": program.to_strings()},
            domain="magicmind",
            name=f"{node.name}.epilogue",
        )


def _can_fuse(node: ir.Node, value: ir.Value | None, out: tuple[Dim, ...]) -> bool:
    assert value is not None
    shape, is_const = shape_of(value), const_of(value) is not None
    assert shape is not None
    if is_op(node, "Conv", domain="magicmind"):
        return operand_kind(shape, out, is_const) is not None
    per_column = is_const and shape[-1:] == out[-1:] and all(d == 1 for d in shape[:-1])
    return all(d == 1 for d in shape) or shape == out or per_column
