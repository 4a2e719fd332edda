"""Scalar programs: what one element of an elementwise operator or of an epilogue computes.

A program is a list of statements in SSA form, the last one is the result:

    t0 = Add(acc, x0)
    t1 = Clip(t0, 0.0, 6.0)

Arguments are names (`Var`) or literals (Python bool, int, float, str, or a `DataType` such as FLOAT). A name that no
statement defines is an input. Which operators exist, and which literals they take, is in `scalar_ops`.
This module owns the text form, composition and the numpy reference; how a program becomes vector code is the business
of the kernels.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx_ir import DataType

from magicmind.errors import ModelFormatError
from magicmind.ir.scalar_ops import SCALAR_OPS, ScalarOp

__all__ = ["Argument", "Literal", "ScalarProgram", "Statement", "Var", "group_dtype", "is_cheap", "single"]


@dataclass(frozen=True)
class Var:
    """A name used as an argument: an input or an earlier statement."""

    name: str

    def __str__(self) -> str:
        return self.name


Literal = bool | int | float | str | DataType
Argument = Var | Literal


@dataclass(frozen=True)
class Statement:
    """`target = op(*args)`."""

    target: str
    op: str
    args: tuple[Argument, ...]

    @property
    def row(self) -> ScalarOp:
        return SCALAR_OPS[self.op]

    @property
    def operands(self) -> tuple[Argument, ...]:
        """The arguments that stand for tensors (names, or literals in their place)."""
        return self.args[: self.row.arity]

    @property
    def literals(self) -> tuple[Argument, ...]:
        """The arguments that stand for ONNX attributes."""
        return self.args[self.row.arity :]

    def uses(self) -> Iterable[str]:
        return (a.name for a in self.args if isinstance(a, Var))

    def expression(self) -> str:
        return f"{self.op}({', '.join(map(_argument_text, self.args))})"

    def __str__(self) -> str:
        return f"{self.target} = {self.expression()}"


@dataclass(frozen=True, eq=False)
class ScalarProgram:
    """Statements in order; equal when their text is equal (so `nan` equals `nan` and `0.0` differs from `-0.0`)."""

    statements: tuple[Statement, ...]

    def __post_init__(self) -> None:
        if not self.statements:
            raise ModelFormatError("a scalar program needs at least one statement")
        _check(self.statements)

    @classmethod
    def parse(cls, lines: Sequence[str]) -> ScalarProgram:
        """Reads the text form. Raises ModelFormatError naming the line that is malformed."""
        return cls(tuple(_parse_statement(line) for line in lines))

    def to_strings(self) -> list[str]:
        return [str(s) for s in self.statements]

    def __str__(self) -> str:
        return "; ".join(self.to_strings())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScalarProgram) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names that no statement defines: `acc` first, then `x0, x1, ...` by number, then others by name."""
        defined = {s.target for s in self.statements}
        free = {name for s in self.statements for name in s.uses() if name not in defined}
        return tuple(sorted(free, key=_input_order))

    @property
    def result(self) -> str:
        return self.statements[-1].target

    def dtypes(self, inputs: Mapping[str, DataType]) -> dict[str, DataType]:
        """The dtype of every input and statement, given those of the inputs."""
        known = {name: inputs[name] for name in self.inputs}
        for statement in self.statements:
            known[statement.target] = _result_dtype(statement, known)
        return known

    def result_dtype(self, inputs: Mapping[str, DataType]) -> DataType:
        return self.dtypes(inputs)[self.result]

    def evaluate(self, arrays: Mapping[str, npt.ArrayLike]) -> npt.NDArray[Any]:
        """The reference: numpy broadcasting, every statement rounded to its own dtype."""
        values = {name: np.asarray(arrays[name]) for name in self.inputs}
        known = {name: DataType.from_numpy(value.dtype) for name, value in values.items()}
        with np.errstate(all="ignore"):
            for statement in self.statements:
                known[statement.target] = _result_dtype(statement, known)
                values[statement.target] = _evaluate(statement, values, known)
        return values[self.result]

    def rename(self, names: Mapping[str, str]) -> ScalarProgram:
        """Renames inputs; two that get the same name become one operand. Temporaries are renumbered."""
        return _canonical(_substitute(self, {old: Var(new) for old, new in names.items()}, prefix="r"))

    def bind(self, name: str, literal: Literal) -> ScalarProgram:
        """Replaces an input by a literal."""
        return _canonical(_substitute(self, {name: literal}, prefix="r"))

    def compose(self, other: ScalarProgram, at_input: str) -> ScalarProgram:
        """Inlines `other` where this program reads `at_input`.

        Inputs of both keep their names, so an input named alike in both is the same operand; rename first where it
        is not.
        """
        inner = _substitute(other, {}, prefix="i")
        outer = _substitute(self, {at_input: Var(inner[-1].target)}, prefix="o")
        return _canonical(inner + outer)

    def simplified(self) -> ScalarProgram:
        """Without repeated, dead and do-nothing statements; temporaries numbered t0, t1, ..."""
        return _canonical(list(self.statements))


def single(op: str, *args: Argument) -> ScalarProgram:
    """A program of one statement, such as `single("Clip", Var("x0"), 0.0, 6.0)`."""
    return ScalarProgram((Statement("t0", op, args),))


_COSTLY = frozenset({
    "Pow", "Mod", "Exp", "Log", "Erf", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh",
    "Acosh", "Atanh", "Elu", "Celu", "Selu", "Sigmoid", "Swish", "Softplus", "Mish", "Gelu",
})  # fmt: skip
"""Operators that are elementary functions."""


def is_cheap(program: ScalarProgram) -> bool:
    """Whether a pass over memory costs more than the program: short and without elementary functions."""
    return len(program.statements) <= 6 and not any(s.op in _COSTLY for s in program.statements)


# --- text


def _argument_text(argument: Argument) -> str:
    if isinstance(argument, DataType):
        return argument.name
    return str(argument) if isinstance(argument, Var) else repr(argument)


def _parse_statement(line: str) -> Statement:
    try:
        tree = ast.parse(line.strip()).body
    except SyntaxError as error:
        raise ModelFormatError(f"scalar statement {line!r}: {error.msg}") from error
    match tree:
        case [ast.Assign(targets=[ast.Name(id=target)], value=ast.Call(func=ast.Name(id=op), args=args, keywords=[]))]:
            return Statement(target, op, tuple(_parse_argument(a, line) for a in args))
    raise ModelFormatError(f"scalar statement {line!r}: expected `name = Operator(argument, ...)`")


_NAMED = {"inf": math.inf, "nan": math.nan}


def _parse_argument(node: ast.expr, line: str) -> Argument:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            magnitude = _parse_argument(operand, line)
            if isinstance(magnitude, (int, float)):
                return -magnitude
        case ast.Name(id=name) if name in _NAMED:
            return _NAMED[name]
        case ast.Name(id=name) if name in DataType.__members__:
            return DataType[name]
        case ast.Name(id=name):
            return Var(name)
    raise ModelFormatError(f"scalar statement {line!r}: an argument is neither a name nor a literal")


def _check(statements: tuple[Statement, ...]) -> None:
    """Known operators, right number of arguments, every name assigned once and before its use."""
    assigned: set[str] = set()
    used: set[str] = set()
    for statement in statements:
        row = SCALAR_OPS.get(statement.op)
        if row is None:
            raise ModelFormatError(f"scalar statement `{statement.target} = {statement.op}(...)`: unknown operator")
        need = row.arity + len(row.literals)
        if len(statement.args) != need:
            raise ModelFormatError(f"scalar statement `{statement}`: {statement.op} takes {need} arguments")
        used.update(statement.uses())
        if statement.target in used or statement.target in assigned:
            raise ModelFormatError(
                f"scalar statement `{statement}`: {statement.target} is used before or assigned twice"
            )
        assigned.add(statement.target)


def _input_order(name: str) -> tuple[int, str, int]:
    if name == "acc":
        return (0, "", 0)
    match = re.fullmatch(r"([a-z_]+)(\d+)", name)
    return (1, match[1], int(match[2])) if match else (2, name, 0)


# --- rewriting


def _substitute(program: ScalarProgram, names: Mapping[str, Argument], prefix: str) -> list[Statement]:
    """Statements with inputs replaced through `names` and temporaries moved out of the way by `prefix`."""
    table: dict[str, Argument] = {name: names.get(name, Var(name)) for name in program.inputs}
    table |= {s.target: Var(f"_{prefix}{i}") for i, s in enumerate(program.statements)}
    return [
        Statement(f"_{prefix}{i}", s.op, tuple(table[a.name] if isinstance(a, Var) else a for a in s.args))
        for i, s in enumerate(program.statements)
    ]


_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}


def _forwarded(statement: Statement) -> Argument | None:
    """The argument a do-nothing statement passes on."""
    args = statement.args
    if statement.op == "Identity":
        return args[0]
    if statement.op in _NEUTRAL:
        neutral = _NEUTRAL[statement.op]
        if _is_number(args[1], neutral):
            return args[0]
        if statement.row.commutes and _is_number(args[0], neutral):
            return args[1]
    return None


def _is_number(argument: Argument, number: int) -> bool:
    return isinstance(argument, (int, float)) and not isinstance(argument, (bool, DataType)) and argument == number


def _canonical(statements: list[Statement]) -> ScalarProgram:
    alias: dict[str, Argument] = {}
    seen: dict[str, str] = {}
    kept: list[Statement] = []
    for statement in statements:
        args = tuple(alias.get(a.name, a) if isinstance(a, Var) else a for a in statement.args)
        statement = Statement(statement.target, statement.op, args)
        forwarded = _forwarded(statement)
        text = statement.expression()
        if isinstance(forwarded, Var):
            alias[statement.target] = forwarded
        elif text in seen:
            alias[statement.target] = Var(seen[text])
        else:
            seen[text] = statement.target
            kept.append(statement)
    result = alias.get(statements[-1].target, Var(statements[-1].target))
    return _numbered(kept, result)


def _numbered(statements: list[Statement], result: Argument) -> ScalarProgram:
    """Live statements, the result last, targets t0, t1, ..."""
    live = {result.name} if isinstance(result, Var) else set()
    alive: list[Statement] = []
    for statement in reversed(statements):
        if statement.target in live:
            alive.append(statement)
            live.update(statement.uses())
    alive.reverse()
    names: dict[str, Argument] = {s.target: Var(f"t{i}") for i, s in enumerate(alive)}
    if not alive or alive[-1].target != getattr(result, "name", None):
        alive.append(Statement("result", "Identity", (result,)))  # a program that only hands on an input
    return ScalarProgram(
        tuple(
            Statement(f"t{i}", s.op, tuple(names.get(a.name, a) if isinstance(a, Var) else a for a in s.args))
            for i, s in enumerate(alive)
        )
    )


# --- types and values


def _literal_dtype(literal: Argument) -> DataType:
    """What a literal is where no neighbour says it."""
    if isinstance(literal, bool):
        return DataType.BOOL
    return DataType.INT64 if isinstance(literal, int) else DataType.FLOAT


def group_dtype(statement: Statement, known: Mapping[str, DataType]) -> DataType:
    """The dtype shared by the operands in `group`, literals included; `known` comes from `ScalarProgram.dtypes`."""
    group = [statement.args[i] for i in statement.row.group]
    for argument in group:
        if isinstance(argument, Var):
            return known[argument.name]
    return _literal_dtype(next((a for a in group if isinstance(a, float)), group[0]))


def _result_dtype(statement: Statement, known: Mapping[str, DataType]) -> DataType:
    match statement.row.result:
        case "bool":
            return DataType.BOOL
        case "cast":
            to = statement.args[-1]
            assert isinstance(to, DataType)
            return to
    return group_dtype(statement, known)


def _evaluate(
    statement: Statement, values: Mapping[str, npt.NDArray[Any]], known: Mapping[str, DataType]
) -> npt.NDArray[Any]:
    group = group_dtype(statement, known)
    operands = []
    for index, argument in enumerate(statement.operands):
        if isinstance(argument, Var):
            array = values[argument.name]
        else:
            array = np.asarray(argument, group.numpy() if index in statement.row.group else None)
        operands.append(array.astype(np.float64) if _is_float(array.dtype) else array)
    result = np.asarray(statement.row.evaluate(*operands, *statement.literals))
    return _convert(result, _result_dtype(statement, known))


def _is_float(dtype: np.dtype[Any]) -> bool:
    return DataType.from_numpy(dtype).is_floating_point()


def _convert(array: npt.NDArray[Any], to: DataType) -> npt.NDArray[Any]:
    return array if array.dtype == to.numpy() else array.astype(to.numpy())
