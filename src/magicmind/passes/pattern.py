"""Pictures of subgraphs: what an expression looks like from its result backwards, as exporters spell it.

`op("Mul", X, op("Sigmoid", X))` is x * sigmoid(x): a name stands for the same value wherever it occurs, the operands of
Add and Mul come in either order, `a | b` is either spelling. A match tells the values and numbers that the names stand
for and the nodes covered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import onnx_ir

from magicmind.ir.types import const_of, type_of
from magicmind.passes.edit import AttributeValue, is_op, replace_node
from magicmind.passes.infra import Decline, Rewrite

__all__ = ["FusePattern", "Match", "Pattern", "any_value", "constant", "first_match", "number", "op", "used_elsewhere"]

_TOLERANCE = {onnx_ir.DataType.FLOAT16: 5e-4, onnx_ir.DataType.BFLOAT16: 4e-3}
_FINE = 1e-5  # relative; constants of the wide types are written with few digits at times


@dataclass(frozen=True)
class Match:
    """What the names of a pattern stand for, and the nodes it covers."""

    values: Mapping[str, onnx_ir.Value] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    nodes: tuple[onnx_ir.Node, ...] = ()


class Pattern(ABC):
    """Something a value may look like."""

    @abstractmethod
    def matches(self, value: onnx_ir.Value | None, found: Match) -> Iterator[Match]:
        """Every way in which `value` fits, given what was found before."""

    def __or__(self, other: Pattern) -> Pattern:
        return _Either((self, other))


@dataclass(frozen=True)
class _Either(Pattern):
    options: tuple[Pattern, ...]

    def matches(self, value: onnx_ir.Value | None, found: Match) -> Iterator[Match]:
        for option in self.options:
            yield from option.matches(value, found)


@dataclass(frozen=True)
class _Named(Pattern):
    name: str
    constant: bool

    def matches(self, value: onnx_ir.Value | None, found: Match) -> Iterator[Match]:
        if value is None or (const_of(value) is not None) != self.constant:
            return
        if found.values.get(self.name, value) is value:
            yield replace(found, values={**found.values, self.name: value})


@dataclass(frozen=True)
class _Number(Pattern):
    wanted: float | str

    def matches(self, value: onnx_ir.Value | None, found: Match) -> Iterator[Match]:
        array = None if value is None else const_of(value)
        if value is None or array is None or array.size != 1 or array.ndim > 1:
            return
        given = float(array.reshape(()))
        if isinstance(self.wanted, str):
            if found.numbers.get(self.wanted, given) == given:
                yield replace(found, numbers={**found.numbers, self.wanted: given})
        elif abs(given - self.wanted) <= _tolerance(value) * abs(self.wanted):
            yield found


@dataclass(frozen=True)
class _Op(Pattern):
    op_type: str
    inputs: tuple[Pattern, ...]

    def matches(self, value: onnx_ir.Value | None, found: Match) -> Iterator[Match]:
        node = value.producer() if value is not None else None
        if node is None or not is_op(node, self.op_type) or len(node.inputs) < len(self.inputs):
            return
        given = tuple(node.inputs[: len(self.inputs)])
        nodes = found.nodes if node in found.nodes else (*found.nodes, node)
        for order in _orders(self, given):
            yield from _all(self.inputs, order, replace(found, nodes=nodes))


def _orders(pattern: _Op, given: tuple[onnx_ir.Value | None, ...]) -> Sequence[tuple[onnx_ir.Value | None, ...]]:
    swaps = pattern.op_type in ("Add", "Mul", "Max", "Min") and len(given) == 2 and given[0] is not given[1]
    return (given, given[::-1]) if swaps else (given,)


def _all(patterns: Sequence[Pattern], values: Sequence[onnx_ir.Value | None], found: Match) -> Iterator[Match]:
    if not patterns:
        yield found
        return
    for first in patterns[0].matches(values[0], found):
        yield from _all(patterns[1:], values[1:], first)


def _tolerance(value: onnx_ir.Value) -> float:
    return _FINE if value.dtype is None else _TOLERANCE.get(value.dtype, _FINE)


def any_value(name: str) -> Pattern:
    """A computed value; further occurrences of the name are the same value."""
    return _Named(name, constant=False)


def constant(name: str) -> Pattern:
    """A constant of any shape."""
    return _Named(name, constant=True)


def number(wanted: float | str) -> Pattern:
    """A constant of one element and rank 0 or 1: this number, up to rounding in its dtype; any, for a name."""
    return _Number(wanted)


def op(op_type: str, *inputs: Pattern | float) -> Pattern:
    """The result of an ONNX operator. Inputs beyond those given may be anything; a float is `number(float)`."""
    return _Op(op_type, tuple(p if isinstance(p, Pattern) else number(p) for p in inputs))


def first_match(pattern: Pattern, value: onnx_ir.Value | None) -> Match | None:
    """The first way in which `value` looks like the pattern."""
    return next(pattern.matches(value, Match()), None)


def below(node: onnx_ir.Node, reach: int) -> Iterator[onnx_ir.Node]:
    """`node` and what is computed from it in at most `reach` steps, farthest last."""
    seen: dict[onnx_ir.Node, None] = {node: None}
    front = [node]
    for _ in range(reach):
        front = [use.node for n in front for output in n.outputs for use in output.uses() if use.node not in seen]
        seen.update(dict.fromkeys(front))
    yield from seen


def used_elsewhere(nodes: Sequence[onnx_ir.Node], last: onnx_ir.Node) -> onnx_ir.Node | None:
    """A node before `last` that something outside of `nodes` reads."""
    for node in nodes:
        if node is last:
            continue
        if any(o.is_graph_output() or any(u.node not in nodes for u in o.uses()) for o in node.outputs):
            return node
    return None


class FusePattern(Rewrite[tuple[Match, onnx_ir.Node]]):
    """Replaces an expression of one float value, same type, by one operator. `roots`: what every spelling contains."""

    pattern: ClassVar[Pattern]
    """The expression; its argument is named `x`."""
    picture: ClassVar[str]
    """The expression for the reader of a reason."""
    becomes: ClassVar[str]
    domain: ClassVar[str] = ""
    reach: ClassVar[int] = 4
    """How many steps the result is below the root, at most."""

    def match(self, node: onnx_ir.Node) -> tuple[Match, onnx_ir.Node] | Decline:
        reason = f"it is no part of {self.picture}"
        for last in below(node, self.reach):
            for found in self.pattern.matches(last.outputs[0], Match()):
                if node not in found.nodes:
                    continue
                reason = self.misfit(found, last)
                if not reason:
                    return found, last
        return Decline(reason)

    def misfit(self, found: Match, last: onnx_ir.Node) -> str:
        """Why the operator would not do the same, or an empty text."""
        type_ = type_of(found.values["x"])
        if type_ is None or not type_.dtype.is_floating_point():
            return "the argument has no float type"
        if type_of(last.outputs[0]) != type_:
            return "a constant broadcasts the argument"
        other = used_elsewhere(found.nodes, last)
        return "" if other is None else f"{other.name}, a step on the way, is used elsewhere"

    def attributes(self, found: Match) -> dict[str, AttributeValue]:
        """The new operator's."""
        return {}

    def rewrite(self, node: onnx_ir.Node, found: tuple[Match, onnx_ir.Node]) -> None:
        match, last = found
        covered = [n for n in match.nodes if n is not last]
        replace_node(last, self.becomes, [match.values["x"]], self.attributes(match), domain=self.domain, fused=covered)
