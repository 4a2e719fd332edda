"""Loops: executed where their conditions are known at conversion, else Loop nodes.

What the body changes besides the values it carries travels with them: tensors it writes to in place. What it appends to
lists becomes scan outputs, which `cat` and `stack` take as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import onnx_ir

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.control import kind_of, known_truth, same
from magicmind.frontends.pytorch.values import Body, Items, Payload, Tensor
from magicmind.ir.dims import Expr
from magicmind.ir.types import TensorType
from magicmind.ops.emitter import Value

if TYPE_CHECKING:
    from magicmind.frontends.pytorch.converter import Converter

Turn = Callable[[Sequence[Any]], list[Any]]
"""Maps (number of the turn, carried values) to (condition, carried values)."""


def run_loop(p: Converter, turns: Any, condition: Any, carried: Sequence[Any], turn: Turn, most: int) -> list[Any]:
    """What a loop leaves; one of more than `most` turns is not written out."""
    if isinstance(turns, int) and known_truth(condition) is not None:
        values, number = list(carried), 0
        while number < turns and known_truth(condition):
            condition, *values = turn([number, *values])
            number += 1
            if known_truth(condition) is None:
                return _Loop(p, turns - number, condition, values, turn, number).run()
            if number > most:
                raise UnsupportedOperatorError(f"a loop of more than {most} turns is written out")
        return values
    return _Loop(p, turns, condition, carried, turn, 0).run()


class _Loop:
    """A Loop node; `first` is the number of its first turn."""

    def __init__(
        self, p: Converter, turns: Any, condition: Any, carried: Sequence[Any], turn: Turn, first: int
    ) -> None:
        self.p, self.turns, self.condition, self.turn, self.first = p, turns, condition, turn, first
        self.outer = p.net
        self.start = [p.value(v) if isinstance(v, (Tensor, bool, int, float, Expr)) else v for v in carried]
        self.moving = [i for i, v in enumerate(self.start) if isinstance(v, Value)]

    def run(self) -> list[Any]:
        """What it leaves of the carried values; tensors and lists that the body changes are changed."""
        _, written, _ = self._body([])  # once to see which tensors it writes to, then with these as carried ones
        graph, _, grown = self._body(written)
        limit = self.p.value(self.turns) if not isinstance(self.turns, int) or self.turns < (1 << 62) else None
        given = [*(self.start[i] for i in self.moving), *(self.p.value(t) for t in written)]
        count = len(given) + len(grown)
        outputs = list(self.outer.ops("Loop", limit, self.p.value(self.condition), *given, count=count, body=graph))
        left = list(self.start)
        for i in self.moving:
            left[i] = Tensor(outputs.pop(0))
        for tensor in written:
            self.p.put(tensor, Tensor(outputs.pop(0)))
        for items in grown:
            items.stacked = Tensor(outputs.pop(0))
        return left

    def _body(self, written: Sequence[Tensor]) -> tuple[onnx_ir.Graph, list[Tensor], list[Items]]:
        """(the body, the tensors it writes to in place, the lists that grow); `written` are carried."""
        p, net = self.p, self.outer.nested("body")
        counter = net.input(f"{self.outer.name}turn", TensorType(onnx_ir.DataType.INT64, ()))
        net.input(f"{self.outer.name}condition", TensorType(onnx_ir.DataType.BOOL, ()))
        inner = list(self.start)
        for i in self.moving:
            inner[i] = Tensor(net.input(f"carried{i}", self.outer.type(self.start[i])))
        given = [net.input(f"written{i}", self.outer.type(p.value(t))) for i, t in enumerate(written)]
        before = [t.payload for t in written]
        state, p.net = dict(p.state), net
        p.bodies.append(Body())
        try:
            number = Tensor(net.op("Add", counter, net.const(self.first, "int64")) if self.first else counter)
            with p.journal() as changes:
                for tensor, value in zip(written, given, strict=True):
                    tensor.restore(value)
                again, *after = self.turn([number, *inner])
            results = {"condition_out": p.value(again)}
            results |= {f"carried{i}_out": p.value(after[i]) for i in self.moving}
            results |= {f"written{i}_out": p.value(t) for i, t in enumerate(written)}
            grown = list(p.bodies[-1].grown.values())
            results |= {f"grown{i}": p.value(item) for i, (_, item) in enumerate(grown)}
            self._check(after, state)
            graph = net.graph(results)
        finally:
            p.net = self.outer
            p.bodies.pop()
        found = [(t, was) for t, was in changes.values() if len(t.lineage) == 1 and not _is_of(was, net)]
        for tensor, was in found:
            tensor.restore(was)
        for tensor, was in zip(written, before, strict=True):
            tensor.restore(was)
        return graph, [t for t, _ in found], [items for items, _ in grown]

    def _check(self, after: Sequence[Any], state: dict[str, Any]) -> None:
        """Raises UnsupportedOperatorError for changes that cannot travel with the carried values."""
        for i, value in enumerate(after):
            if i not in self.moving and not same(value, self.start[i]):
                raise UnsupportedOperatorError(f"a loop that depends on data changes {kind_of(value)}")
        if any(name in state and self.p.state[name] is not was for name, was in state.items()):
            raise UnsupportedOperatorError("a loop that depends on data sets an attribute")


def _is_of(payload: Payload, net: Any) -> bool:
    """Whether a value was made in a loop's body."""
    if isinstance(payload, Value):
        made = [*net.inputs, *(output for node in net.nodes for output in node.outputs)]
        return any(payload is value for value in made)
    return False


__all__ = ["run_loop"]
