"""The division before Quantise goes into the multiplications before it: one multiply from a sum to a byte.

Quantise(Relu(acc * s) / q) = Quantise(Relu(acc * (s / q))): division by a positive number passes through everything
that is homogeneous. What the saturation does anyway is dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.scalar import Argument, ScalarProgram, Statement, Var
from magicmind.ir.types import const_of
from magicmind.passes.edit import DOMAIN, add_constant, graph_of, is_op, replace_node
from magicmind.passes.fuse_elementwise import program_of
from magicmind.passes.infra import Decline, Rewrite

Array = npt.NDArray[Any]

_FIRST_OPERAND = {"Conv": 3, "MatMul": 3, "Elementwise": 0}


@dataclass(frozen=True)
class Folded:
    """The new program; `scaled[name]` is the array of a new constant operand."""

    program: ScalarProgram
    scaled: dict[str, Array]


class FoldRequantise(Rewrite[Folded]):
    """Quantise(acc * s / q) becomes Quantise(acc * (s / q)); activations that saturation does anyway go."""

    roots = frozenset(f"{DOMAIN}.{name}" for name in _FIRST_OPERAND)

    def match(self, node: onnx_ir.Node) -> Folded | Decline:
        attribute = "program" if is_op(node, "Elementwise", domain=DOMAIN) else "epilogue"
        if attribute not in node.attributes:
            return Decline("no program")
        program = program_of(node, attribute)
        if not any(s.op == "Quantise" for s in program.statements):
            return Decline("nothing is quantised")
        first = _FIRST_OPERAND[node.op_type]
        constants = {f"x{i}": const_of(value) for i, value in enumerate(node.inputs[first:])}
        folded = _Fold(constants).run(program)
        if folded.program == program:
            return Decline("nothing to fold")
        return folded

    def rewrite(self, node: onnx_ir.Node, found: Folded) -> None:
        first = _FIRST_OPERAND[node.op_type]
        values = {f"x{i}": value for i, value in enumerate(node.inputs[first:])}
        for name, array in found.scaled.items():
            values[name] = add_constant(graph_of(node), array, f"{node.name}.{name}")
        names = [name for name in found.program.inputs if name != "acc"]
        program = found.program.rename({name: f"x{i}" for i, name in enumerate(names)})
        attributes = {a.name: a.value for a in node.attributes.values() if a.name not in ("epilogue", "program")}
        attributes["program" if first == 0 else "epilogue"] = program.to_strings()
        inputs = [*node.inputs[:first], *([None] * (first - len(node.inputs[:first])))]
        replace_node(node, node.op_type, [*inputs, *(values[name] for name in names)], attributes, domain=DOMAIN)


@dataclass
class _Fold:
    """Rebuilds a program statement by statement; `made` holds what is there so far."""

    constants: dict[str, Array | None]
    made: dict[str, Statement] = field(default_factory=dict)
    scaled: dict[str, Array] = field(default_factory=dict)

    def run(self, program: ScalarProgram) -> Folded:
        """The program with the divisions before every Quantise folded."""
        for statement in program.statements:
            x, *rest = statement.args
            if statement.op == "Quantise":
                before = self._statement(x)
                if before is not None and before.op == "Div" and _positive(before.args[1]):
                    divided = self._divide(before.args[0], float(before.args[1]))  # type: ignore[arg-type]
                    x = x if divided is None else divided
                zero, to = rest
                assert isinstance(zero, int) and isinstance(to, DataType)
                x = self._without_saturated(x, zero, to)
            self.made[statement.target] = Statement(statement.target, statement.op, (x, *rest))
        return Folded(ScalarProgram(tuple(self.made.values())).simplified(), self.scaled)

    def _statement(self, argument: Argument) -> Statement | None:
        return self.made.get(argument.name) if isinstance(argument, Var) else None

    def _add(self, op: str, *args: Argument) -> Var:
        name = f"f{len(self.made)}"
        self.made[name] = Statement(name, op, args)
        return Var(name)

    def _divide(self, argument: Argument, by: float) -> Argument | None:
        """`argument / by` without a division; None where there is none such."""
        if isinstance(argument, (int, float)) and not isinstance(argument, bool):
            return _single(argument / by)
        if not isinstance(argument, Var):
            return None
        statement = self._statement(argument)
        if statement is None:
            return self._divided_constant(argument, by)
        a, *rest = statement.args
        match statement.op:
            case "Mul":
                for factor, other in ((statement.args[1], a), (a, statement.args[1])):
                    constant = factor if not isinstance(factor, Var) or factor.name in self.constants else None
                    divided = None if constant is None else self._divide(constant, by)
                    if divided is not None:
                        return self._add("Mul", other, divided)
                return None
            case "Add" | "Sub" | "Max" | "Min" | "Clip":
                parts = [self._divide(x, by) for x in statement.args]
                return None if any(p is None for p in parts) else self._add(statement.op, *parts)  # type: ignore[arg-type]
            case "Relu" | "LeakyRelu":
                inner = self._divide(a, by)
                return None if inner is None else self._add(statement.op, inner, *rest)
        return None

    def _divided_constant(self, name: Var, by: float) -> Var | None:
        array = self.constants.get(name.name)
        if array is None or array.dtype != np.float32:
            return None
        new = f"x{len(self.constants) + len(self.scaled)}"
        self.scaled[new] = (array.astype(np.float64) / by).astype(np.float32)
        return Var(new)

    def _without_saturated(self, x: Argument, zero: int, to: DataType) -> Argument:
        """`x` without bounds that are no tighter than those of the result's type."""
        limits = np.iinfo(to.numpy())
        while (statement := self._statement(x)) is not None:
            inner, *bounds = statement.args
            if statement.op == "Relu":
                low, high = 0.0, math.inf
            elif statement.op == "Clip" and all(isinstance(b, (int, float)) for b in bounds):
                low, high = (float(b) for b in bounds)  # type: ignore[arg-type]
            else:
                return x
            if round(low) + zero > limits.min or (high < limits.max - zero and round(high) + zero < limits.max):
                return x
            x = inner
        return x


def _positive(argument: Argument) -> bool:
    return isinstance(argument, (int, float)) and math.isfinite(argument) and argument > 0


def _single(number: float) -> float:
    """The nearest float32."""
    return float(np.float32(number))
