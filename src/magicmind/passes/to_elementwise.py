"""Every elementwise ONNX operator on numbers becomes magicmind.Elementwise with a scalar program of a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir
from onnx_ir import DataType

from magicmind.ir.narrow import NARROW
from magicmind.ir.scalar import Literal, ScalarProgram, Statement, Var
from magicmind.ir.scalar_ops import SCALAR_OPS
from magicmind.ir.types import const_of, dtype_of, shape_of
from magicmind.passes.edit import DOMAIN, attribute, replace_node
from magicmind.passes.infra import Decline, Rewrite

NUMBERS = frozenset({
    DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16, DataType.BOOL,
    DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64,
    DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64,
})  # fmt: skip

_VARIADIC = {"Sum": "Add", "Mean": "Add", "Max": "Max", "Min": "Min"}
_OTHERS = ("CastLike",)
_STORES = ("Cast", "CastLike", "Where")
"""Operators on types that are stored and computed with in others."""


@dataclass(frozen=True)
class Found:
    """The program and the values of its inputs, in order."""

    program: ScalarProgram
    operands: tuple[onnx_ir.Value, ...]


class ToElementwise(Rewrite[Found]):
    """An elementwise operator becomes magicmind.Elementwise; constants of one element become literals."""

    roots = frozenset((SCALAR_OPS.keys() | _VARIADIC.keys() | set(_OTHERS)) - {"Identity", "NarrowCast"})

    def match(self, node: onnx_ir.Node) -> Found | Decline:
        given = [value for value in node.inputs if value is not None]
        allowed = NUMBERS | NARROW if node.op_type in _STORES else NUMBERS
        if not given or any(dtype_of(v) not in allowed for v in (*given, *node.outputs)):
            return Decline("a dtype is not a number that programs compute with")
        values = _distinct(given)
        names = {id(value): f"x{i}" for i, value in enumerate(values)}
        args = [None if value is None else Var(names[id(value)]) for value in node.inputs]
        program = ScalarProgram(tuple(_statements(node, args)))
        return _with_literals(node, program.simplified(), {f"x{i}": value for i, value in enumerate(values)})

    def rewrite(self, node: onnx_ir.Node, found: Found) -> None:
        replace_node(node, "Elementwise", found.operands, {"program": found.program.to_strings()}, domain=DOMAIN)


def _distinct(values: list[onnx_ir.Value]) -> list[onnx_ir.Value]:
    return list(dict.fromkeys(values))


def _statements(node: onnx_ir.Node, args: list[Var | None]) -> list[Statement]:
    """The node as statements over `args`, which are its inputs (None where absent)."""
    given = [arg for arg in args if arg is not None]
    if node.op_type in _VARIADIC:
        return _chain(node.op_type, given)
    if node.op_type == "Clip":
        return _clip(args + [None] * (3 - len(args)))
    if node.op_type in ("Cast", "CastLike"):
        return [_cast(node, given[0])]
    if node.op_type == "Pow":
        return _power(node, given)
    row = SCALAR_OPS[node.op_type]
    return [Statement("t0", node.op_type, (*given, *(_literal(node, a.name, a.default) for a in row.literals)))]


def _cast(node: onnx_ir.Node, x: Var) -> Statement:
    """Saturation and rounding are stated where they matter and are not what a plain cast does."""
    to, saturate, mode = _dtype(node.outputs[0]), attribute(node, "saturate", 1), attribute(node, "round_mode", "up")
    assert isinstance(saturate, int) and isinstance(mode, str)
    if to in NARROW and to.is_floating_point() and (saturate, mode) != (1, "up"):
        return Statement("t0", "NarrowCast", (x, saturate, mode, to))
    return Statement("t0", "Cast", (x, to))


def _chain(op_type: str, args: list[Var]) -> list[Statement]:
    if len(args) == 1:
        return [Statement("t0", "Identity", (args[0],))]
    statements, last = [], args[0]
    for i, arg in enumerate(args[1:]):
        statements.append(Statement(f"t{i}", _VARIADIC[op_type], (last, arg)))
        last = Var(f"t{i}")
    if op_type == "Mean":
        statements.append(Statement("mean", "Div", (last, float(len(args)))))
    return statements


def _clip(args: list[Var | None]) -> list[Statement]:
    """A missing bound leaves Max or Min: no dtype has a literal for `no bound` but floats."""
    x, low, high = args[:3]
    assert x is not None
    if low is not None and high is not None:
        return [Statement("t0", "Clip", (x, low, high))]
    if low is None and high is None:
        return [Statement("t0", "Identity", (x,))]
    bound = low if low is not None else high
    assert bound is not None
    return [Statement("t0", "Max" if low is not None else "Min", (x, bound))]


def _power(node: onnx_ir.Node, args: list[Var]) -> list[Statement]:
    """ONNX lets base and exponent differ in dtype, programs do not; a square is a product, with the same rounding."""
    base, exponent = args if len(args) == 2 else args * 2
    left, right = node.inputs
    assert left is not None and right is not None
    constant = const_of(right)
    if constant is not None and constant.size == 1 and constant.reshape(()) == 2 and constant.ndim <= _rank(left):
        return [Statement("t0", "Mul", (base, base))]
    to, given = _dtype(left), _dtype(right)
    if to == given:
        return [Statement("t0", "Pow", (base, exponent))]
    if to.is_floating_point():
        return [Statement("t0", "Cast", (exponent, to)), Statement("t1", "Pow", (base, Var("t0")))]
    return [
        Statement("t0", "Cast", (base, given)),
        Statement("t1", "Pow", (Var("t0"), exponent)),
        Statement("t2", "Cast", (Var("t1"), to)),
    ]


def _literal(node: onnx_ir.Node, name: str, default: object) -> Literal:
    if name == "to":
        return DataType(attribute(node, name))
    value = attribute(node, name, default)
    assert isinstance(value, (int, float, str)), f"{node.name}: attribute {name} is missing"
    return shortest(value) if isinstance(value, float) else value


def shortest(number: float) -> float:
    """The float with the fewest digits that is the same float32: attributes were written as decimal fractions."""
    return float(str(np.float32(number)))


def _dtype(value: onnx_ir.Value) -> DataType:
    dtype = dtype_of(value)
    assert dtype is not None
    return dtype


def _rank(value: onnx_ir.Value) -> int:
    shape = shape_of(value)
    return -1 if shape is None else len(shape)


def _with_literals(node: onnx_ir.Node, program: ScalarProgram, values: dict[str, onnx_ir.Value]) -> Found:
    """Replaces inputs that are constants of one element by literals, while shape and dtypes of the result stay."""
    wanted = {name: _dtype(values[name]) for name in program.inputs}
    for name in program.inputs:
        constant = None if wanted[name] in NARROW else const_of(values[name])
        others = [values[other] for other in program.inputs if other != name]
        if constant is None or constant.size != 1 or constant.ndim > max(map(_rank, others), default=-1):
            continue
        bound = program.bind(name, _as_literal(constant))
        if _keeps_types(program, bound, wanted, name):
            program = bound
    names = program.inputs
    program = program.rename({name: f"x{i}" for i, name in enumerate(names)})
    return Found(program, tuple(values[name] for name in names))


def _as_literal(constant: npt.NDArray[Any]) -> Literal:
    number: bool | int | float = constant.reshape(()).item()
    if constant.dtype == np.float32 and np.isfinite(number):
        return shortest(number)
    return number


def _keeps_types(program: ScalarProgram, bound: ScalarProgram, types: dict[str, DataType], name: str) -> bool:
    """Whether the literal takes the dtype that the constant `name` had, by its neighbours."""
    if not bound.inputs or bound.result_dtype(types) != program.result_dtype(types):
        return False
    for statement in program.statements:
        group = [statement.args[i] for i in statement.row.group]
        if Var(name) not in group:
            continue
        before = program.dtypes(types)
        neighbours = [before[a.name] for a in group if isinstance(a, Var) and a.name != name]
        if not neighbours or neighbours[0] != types[name]:
            return False
    return all(Var(name) not in s.operands or _in_group(s, name) for s in program.statements)


def _in_group(statement: Statement, name: str) -> bool:
    return all(i in statement.row.group for i, a in enumerate(statement.operands) if a == Var(name))
