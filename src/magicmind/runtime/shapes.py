"""From the shapes of the inputs to every number a plan leaves open.

All texts of a plan are compiled once into one function of the symbols; only integer arithmetic is let through.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from magicmind.errors import OfflineModelError, ShapeError

Shape = tuple[int, ...]
Evaluate = Callable[..., tuple[int, ...]]

_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod)
_FUNCTIONS = {"min": min, "max": max}


def compile_texts(texts: Sequence[int | str], symbols: Sequence[str]) -> Evaluate:
    """A function of the symbols' values (in order) that returns the values of all texts.

    Raises OfflineModelError for anything but integers, the symbols, + - * // %, min and max.
    """
    numbers = tuple(text for text in texts if isinstance(text, int))
    if len(numbers) == len(texts):  # fixed shapes, and most of what opening their file costs
        return lambda *_: numbers
    arguments = {name: f"s{index}" for index, name in enumerate(symbols)}  # a symbol may be named like a keyword
    try:
        body = ast.Tuple([_checked(text, arguments) for text in texts], ast.Load())
        parameters = ast.arguments([], [ast.arg(arg) for arg in arguments.values()], None, [], [], None, [])
        tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(parameters, body)))
        function: Evaluate = eval(compile(tree, "<dims>", "eval"), {"__builtins__": {}, **_FUNCTIONS})
        return function
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise OfflineModelError(f"the plan holds a dim that cannot be read: {error}") from error


def _checked(text: int | str, arguments: Mapping[str, str]) -> ast.expr:
    if isinstance(text, int):
        return ast.Constant(int(text))
    return _rebuilt(ast.parse(text, mode="eval").body, arguments)


def _rebuilt(node: ast.expr, arguments: Mapping[str, str]) -> ast.expr:
    """The expression built anew from allowed nodes only."""
    match node:
        case ast.Constant(value=int()) if not isinstance(node.value, bool):
            return ast.Constant(node.value)
        case ast.Name(id=name) if name in arguments:
            return ast.Name(arguments[name], ast.Load())
        case ast.BinOp(left=left, op=operator, right=right) if isinstance(operator, _OPERATORS):
            return ast.BinOp(_rebuilt(left, arguments), operator, _rebuilt(right, arguments))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ast.UnaryOp(ast.USub(), _rebuilt(operand, arguments))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
            return ast.Call(ast.Name(name, ast.Load()), [_rebuilt(arg, arguments) for arg in args], [])
    raise OfflineModelError(f"the plan holds a dim that is no integer expression: {ast.unparse(node)!r}")


@dataclass(frozen=True)
class Numbers:
    """What a plan comes to for one set of input shapes."""

    dims: tuple[int, ...]
    buffer_bytes: tuple[int, ...]
    slot_offsets: tuple[int, ...]
    output_shapes: tuple[Shape, ...]
    scratch: int
    step_flops: tuple[int, ...]
    step_bytes: tuple[int, ...]


class PlanShapes:
    """Checks input shapes against a plan and evaluates it."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._ranges: dict[str, tuple[int, int | None]] = {
            name: (bounds[0], bounds[1]) for name, bounds in plan["symbols"].items()
        }
        self._inputs = [(item["name"], tuple(item["shape"])) for item in plan["inputs"]]
        self._outputs = [tuple(item["shape"]) for item in plan["outputs"]]
        bound = {dim for _, shape in self._inputs for dim in shape if isinstance(dim, str)}
        self._symbols = [name for name in self._ranges if name in bound]
        steps = plan["steps"]
        groups: list[list[int | str]] = [
            list(plan["dims"]),
            [buffer["bytes"] for buffer in plan["buffers"]],
            [slot.get("offset", 0) for slot in plan["slots"]],
            [dim for shape in self._outputs for dim in shape],
            [plan["scratch"]],
            [step.get("flops", 0) for step in steps],
            [step.get("bytes", 0) for step in steps],
        ]
        self._lengths = [len(group) for group in groups]
        self._evaluate = compile_texts([text for group in groups for text in group], self._symbols)
        # Input dims that are expressions are checked once their symbols are known.
        self._derived = [
            (name, axis, dim)
            for name, shape in self._inputs
            for axis, dim in enumerate(shape)
            if isinstance(dim, str) and dim not in self._ranges
        ]
        self._evaluate_derived = compile_texts([dim for _, _, dim in self._derived], self._symbols)

    def bind(self, shapes: Sequence[Shape]) -> tuple[int, ...]:
        """Values of the symbols. Raises ShapeError naming input, dim, value and range."""
        values: dict[str, tuple[int, str]] = {}
        for (name, expected), shape in zip(self._inputs, shapes, strict=True):
            if len(shape) != len(expected):
                raise ShapeError(
                    f"input {name!r}: {len(shape)} dims {shape}, expected {len(expected)}: {self._spell(expected)}"
                )
            for axis, (want, have) in enumerate(zip(expected, shape, strict=True)):
                self._bind_dim(name, axis, want, have, values)
        bound = tuple(values[symbol][0] for symbol in self._symbols)
        by_name = {name: index for index, (name, _) in enumerate(self._inputs)}
        for (name, axis, text), want in zip(self._derived, self._evaluate_derived(*bound), strict=True):
            have = shapes[by_name[name]][axis]
            if have != want:
                raise ShapeError(f"input {name!r}: dim {axis} is {have}, expected {text} = {want}")
        return bound

    def values(self, shapes: Sequence[Shape]) -> dict[str, int]:
        """Values of the symbols by name.  Raises ShapeError."""
        return dict(zip(self._symbols, self.bind(shapes), strict=True))

    def _bind_dim(self, name: str, axis: int, want: int | str, have: int, values: dict[str, tuple[int, str]]) -> None:
        if isinstance(want, int):
            if have != want:
                raise ShapeError(f"input {name!r}: dim {axis} is {have}, the model was built for {want}")
            return
        if want not in self._ranges:
            return
        low, high = self._ranges[want]
        if have < low or (high is not None and have > high):
            allowed = f"{low}..{'' if high is None else high}"
            raise ShapeError(
                f"input {name!r}: dim {axis} ({want}) is {have}, the model was built for {allowed}",
                hint=f"build it with a wider range: shapes={{{name!r}: ...}}, or dim_range of MagicMind",
            )
        before, where = values.setdefault(want, (have, f"dim {axis} of input {name!r}"))
        if before != have:
            raise ShapeError(f"input {name!r}: dim {axis} ({want}) is {have}, but {where} made it {before}")

    def _spell(self, shape: Sequence[int | str]) -> str:
        return "[" + ", ".join(str(dim) for dim in shape) + "]"

    def evaluate(self, symbols: Sequence[int]) -> Numbers:
        """Everything for these values of the symbols. Raises ShapeError where a size comes out negative."""
        try:
            values = self._evaluate(*symbols)
        except ZeroDivisionError as error:
            raise ShapeError(f"a size of the plan divides by zero for {self._named(symbols)}") from error
        parts = []
        start = 0
        for length in self._lengths:
            parts.append(values[start : start + length])
            start += length
        dims, buffers, offsets, flat, (scratch,), flops, moved = parts
        if min((*buffers, *offsets, *flat, scratch, 0)) < 0 or max((*values, 0)) >= 1 << 62:
            raise ShapeError(f"a size of the plan is negative or beyond memory for {self._named(symbols)}")
        return Numbers(dims, buffers, offsets, self._grouped(flat), scratch, flops, moved)

    def _grouped(self, flat: tuple[int, ...]) -> tuple[Shape, ...]:
        shapes = []
        start = 0
        for shape in self._outputs:
            shapes.append(flat[start : start + len(shape)])
            start += len(shape)
        return tuple(shapes)

    def _named(self, symbols: Sequence[int]) -> str:
        return ", ".join(f"{name}={value}" for name, value in zip(self._symbols, symbols, strict=True)) or "its shapes"
