"""Between which numbers the floats of a scalar program lie, by interval arithmetic.

Source: Moore, Kearfott and Cloud 2009, "Introduction to Interval Analysis", 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from onnx_ir import DataType

from magicmind.ir.scalar import Argument, ScalarProgram, Statement, Var

Interval: TypeAlias = tuple[float, float]

ANYTHING: Interval = (-math.inf, math.inf)
_ROUNDING = 2.0**-20
"""More than float32 rounds away in one operation, in parts of the result."""


def intervals(
    program: ScalarProgram, integers: Mapping[str, Interval], floats: Mapping[str, Interval]
) -> dict[str, Interval]:
    """Of every float32 input and statement; `ANYTHING` where that is not known, as of inputs that are not given.

    Integers count as far as they are cast to float32: their own arithmetic may wrap.
    """
    known = {name: interval for name, interval in floats.items() if all(map(math.isfinite, interval))}
    for statement in program.statements:
        if statement.op == "Cast" and statement.args[1] == DataType.FLOAT:
            known[statement.target] = _rounded(_interval(statement.args[0], {**known, **integers}))
        elif statement.op in _OPERATORS:
            known[statement.target] = _rounded(_result(statement, known))
    return {name: known.get(name, ANYTHING) for name in (*program.inputs, *(s.target for s in program.statements))}


def _result(statement: Statement, known: Mapping[str, Interval]) -> Interval:
    operands = [_interval(a, known) for a in statement.operands]
    return ANYTHING if ANYTHING in operands else _OPERATORS[statement.op](*operands)


def _interval(argument: Argument, known: Mapping[str, Interval]) -> Interval:
    if isinstance(argument, Var):
        return known.get(argument.name, ANYTHING)
    return (float(argument), float(argument)) if isinstance(argument, (int, float)) else ANYTHING


def _rounded(interval: Interval) -> Interval:
    low, high = interval
    return (low - abs(low) * _ROUNDING, high + abs(high) * _ROUNDING) if math.isfinite(high - low) else ANYTHING


def _product(a: Interval, b: Interval) -> Interval:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


_OPERATORS: dict[str, Callable[..., Interval]] = {
    "Add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "Sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "Mul": _product,
    "Relu": lambda x: (max(x[0], 0.0), max(x[1], 0.0)),
}
