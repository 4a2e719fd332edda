"""Fuses an elementwise operator into the only one that reads it."""

from __future__ import annotations

import onnx_ir

from magicmind.ir.scalar import ScalarProgram
from magicmind.ir.types import shape_of
from magicmind.passes.edit import DOMAIN, attribute, is_op, only_user, replace_node
from magicmind.passes.infra import Decline, Rewrite

# Every operand needs a pointer and, where it broadcasts, its own strides: beyond this, registers spill.
MAX_OPERANDS = 8
MAX_STATEMENTS = 64

Operands = list[onnx_ir.Value]


class FuseElementwise(Rewrite[tuple[onnx_ir.Node, ScalarProgram, Operands]]):
    """Elementwise(Elementwise(x), y) becomes one Elementwise."""

    roots = frozenset({f"{DOMAIN}.Elementwise"})

    def match(self, node: onnx_ir.Node) -> tuple[onnx_ir.Node, ScalarProgram, Operands] | Decline:
        reason = "no operand is elementwise"
        for index, value in enumerate(node.inputs):
            producer = value.producer() if value is not None else None
            if value is None or producer is None or not is_op(producer, "Elementwise", domain=DOMAIN):
                continue
            if unwanted := self.reason_against(producer):
                reason = unwanted
            elif only_user(value) is None:
                reason = "the operand is used elsewhere"
            elif shape_of(value) is None or shape_of(value) != shape_of(node.outputs[0]):
                reason = "the operand is broadcast, it would be computed again for every copy"
            else:
                program, operands = inline(node, index, producer)
                if len(operands) <= MAX_OPERANDS and len(program.statements) <= MAX_STATEMENTS:
                    return producer, program, operands
                reason = "the fused program would be too large"
        return Decline(reason)

    def reason_against(self, producer: onnx_ir.Node) -> str:
        """Why an elementwise operand is not taken in, or an empty text."""
        return ""

    def rewrite(self, node: onnx_ir.Node, found: tuple[onnx_ir.Node, ScalarProgram, Operands]) -> None:
        producer, program, operands = found
        fused = replace_node(
            node, "Elementwise", operands, {"program": program.to_strings()}, domain=DOMAIN, fused=[producer]
        )
        again = self.match(fused)  # the next operand of the same node
        if not isinstance(again, Decline):
            self.rewrite(fused, again)


class FuseDequantise(FuseElementwise):
    """Elementwise(Elementwise(q), y) becomes one Elementwise, where q is a tensor of whole numbers."""

    def reason_against(self, producer: onnx_ir.Node) -> str:
        if all(v is None or v.dtype is None or v.dtype.is_floating_point() for v in producer.inputs):
            return "the operand is made of floats"
        if any(is_op(v.producer(), "Conv", "MatMul", domain=DOMAIN) for v in producer.inputs if v is not None):
            return "the operand is the end of a product, and belongs to it"
        return ""


def program_of(node: onnx_ir.Node, name: str = "program") -> ScalarProgram:
    """The scalar program in an attribute of `node`."""
    return ScalarProgram.parse(attribute(node, name))


def operands_of(node: onnx_ir.Node, start: int = 0) -> Operands:
    """The inputs from `start` on, all of which are given."""
    return [value for value in node.inputs[start:] if value is not None]


def inline(node: onnx_ir.Node, index: int, producer: onnx_ir.Node) -> tuple[ScalarProgram, Operands]:
    """The program and operands of `node` with `producer`, its operand `index`, inlined."""
    operands = dict.fromkeys([*operands_of(producer), *(v for i, v in enumerate(operands_of(node)) if i != index)])
    number = {value: i for i, value in enumerate(operands)}
    inner = program_of(producer).rename({f"x{i}": f"y{number[v]}" for i, v in enumerate(operands_of(producer))})
    outer = program_of(node).rename(
        {f"x{i}": "fused" if i == index else f"y{number[v]}" for i, v in enumerate(operands_of(node))}
    )
    return compact(outer.compose(inner, "fused"), list(operands), "y")


def compact(program: ScalarProgram, operands: Operands, prefix: str) -> tuple[ScalarProgram, Operands]:
    """Inputs `prefix`i, of which some may be unused, become x0, x1, ...; `acc` stays."""
    used = [name for name in program.inputs if name != "acc"]
    kept = [operands[int(name.removeprefix(prefix))] for name in used]
    return program.rename({name: f"x{i}" for i, name in enumerate(used)}), kept
