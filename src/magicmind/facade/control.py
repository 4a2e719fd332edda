"""Branches and loops that a program builds: nodes with bodies, which are scopes of their own.

They become ONNX's If and Loop. A branch reads what is around it. A loop carries its recurrence tensors from round to
round; the one that began as the loop's condition ends it. What a loop gives is the value of the last round, so that a
loop without any round has no output that is not carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from magicmind.facade.handles import AddedNode, INode, ITensor
from magicmind.facade.nodes import Row
from magicmind.facade.scope import Scope
from magicmind.facade.status import Code, Refused, guarded, or_none

if TYPE_CHECKING:
    from magicmind.facade.realise import Appendix, Realised


class _Body(Scope):
    """The nodes inside, and the tensors that leave them."""

    def __init__(self, node: _ControlNode) -> None:
        super().__init__(node.scope)
        self._node = node
        self.outputs: list[ITensor] = []

    def _add_output(self, tensor: ITensor | INode) -> None:
        self.network.require_open()
        self.outputs.append(self.tensor(tensor))
        self._node.grow(len(self.outputs))

    def reads(self) -> list[ITensor]:
        """What the body reads; its own tensors are among that."""
        return [*(t for node in self.added for t in node.reads()), *self.outputs]


class CondBody(_Body):
    """One side of a branch."""

    @guarded
    def add_cond_output(self, tensor: ITensor | INode) -> None:
        """Makes a tensor the next output of the branch."""
        self._add_output(tensor)


@dataclass
class _Recurrence:
    """A tensor of the body: what it is at first, and what it is in the next round."""

    tensor: ITensor
    start: ITensor
    next: ITensor | None = None


class LoopBody(_Body):
    """One round of a loop."""

    def __init__(self, node: WhileNode) -> None:
        super().__init__(node)
        self.recurrent: list[_Recurrence] = []

    @or_none
    def add_recurrence_tensor(self, tensor: ITensor | INode) -> ITensor:
        """What is carried from round to round, beginning with a tensor from around the loop."""
        self.network.require_open()
        assert self.parent is not None
        start, number = self.parent.tensor(tensor), len(self.recurrent)
        key = ("carried", self._node.number, number)
        found = self.handle(key, f"{self._node.name}/recurrence-{number}", start.get_data_type())
        self.recurrent.append(_Recurrence(found, start))
        self.network.touch()
        return found

    @guarded
    def update_recurrence_tensor(self, tensor: ITensor, new: ITensor | INode) -> None:
        """What a recurrence tensor is in the next round."""
        self.network.require_open()
        found = next((r for r in self.recurrent if r.tensor is tensor), None)
        if found is None:
            raise Refused(f"{tensor!r:.60} is no recurrence tensor of the loop", Code.NOT_FOUND)
        found.next = self.tensor(new)
        self.network.touch()

    @guarded
    def add_loop_output(self, tensor: ITensor | INode) -> None:
        """Makes the last round's value of a tensor the next output of the loop."""
        self._add_output(tensor)

    def reads(self) -> list[ITensor]:
        """What the body reads, and what it begins with."""
        return [*super().reads(), *(r.start for r in self.recurrent)]


def _nothing(emitter: Any, call: Any) -> Any:
    raise AssertionError("nodes with bodies emit themselves")


class _ControlNode(AddedNode):
    """A node whose only operand is its condition."""

    kind = ""

    def __init__(self, scope: Scope, name: str, number: int, cond: ITensor) -> None:
        super().__init__(scope, Row(self.kind, "cond", _nothing, results=0), name, number, {"cond": cond})
        self.bodies: dict[str, _Body] = {}

    def grow(self, count: int) -> None:
        """A body has so many outputs by now: the node too."""
        self._make(count)
        self.network.touch()

    def reads(self) -> list[ITensor]:
        """The condition, and what the bodies read."""
        return [*super().reads(), *(t for body in self.bodies.values() for t in body.reads())]

    def _created(self, what: str, body: _Body) -> _Body:
        self.network.require_open()
        if what in self.bodies:
            raise Refused(f"{self.name} has its {what} body already", Code.ALREADY_EXISTS)
        self.bodies[what] = body
        self.network.touch()
        return body

    def _body(self, what: str) -> _Body:
        if what not in self.bodies:
            raise Refused(f"{self.name} has no {what} body: create it", Code.FAILED_PRECONDITION)
        return self.bodies[what]

    def _condition(self, emitter: Appendix, graph: Realised) -> Any:
        cond = self.operands[0]
        assert cond is not None
        return _flag(emitter, graph.value(cond.key))


class IfNode(_ControlNode):
    """A branch."""

    kind = "if"

    @or_none
    def create_then_body(self) -> CondBody:
        """The side that is taken when the condition is true."""
        return self._created("then", CondBody(self))  # type: ignore[return-value]

    @or_none
    def create_else_body(self) -> CondBody:
        """The other side."""
        return self._created("else", CondBody(self))  # type: ignore[return-value]

    def emit(self, emitter: Any, graph: Realised) -> Sequence[Any]:
        """An If."""
        bodies = {what: self._body(what) for what in ("then", "else")}
        counts = [len(body.outputs) for body in bodies.values()]
        if counts[0] != counts[1] or not counts[0]:
            raise Refused(f"its bodies have {counts[0]} and {counts[1]} outputs; as many of both are wanted")
        branches = {}
        for what, body in bodies.items():
            inner = emitter.nested()
            graph.emit(body.added, inner)
            inner.scope = f"{self.name}/{what}"
            results = [inner.op("Identity", graph.value(t.key)) for t in body.outputs]
            branches[f"{what}_branch"] = inner.graph(f"{self.name}/{what}", [], results)
        emitter.scope = self.name
        found: Sequence[Any] = emitter.ops("If", self._condition(emitter, graph), count=counts[0], **branches)
        return found


class WhileNode(_ControlNode):
    """A loop."""

    kind = "while"

    @or_none
    def create_loop_body(self) -> LoopBody:
        """One round of it."""
        return self._created("loop", LoopBody(self))  # type: ignore[return-value]

    def emit(self, emitter: Any, graph: Realised) -> Sequence[Any]:
        """A Loop. Its outputs are carried tensors, or the last of all rounds' values."""
        import onnx_ir

        from magicmind.ir.types import TensorType

        body = self._body("loop")
        assert isinstance(body, LoopBody)
        end = self._end(body, graph)
        carried = [r for r in body.recurrent if r is not end]
        starts = [graph.value(r.start.key) for r in carried]
        inner = emitter.nested()
        inner.scope = f"{self.name}/loop"
        types = TensorType(onnx_ir.DataType.INT64, ()), TensorType(onnx_ir.DataType.BOOL, ())
        count, going, *before = map(inner.input, (*types, *map(emitter.type, starts)))
        graph.bind(end.tensor.key, going)
        for recurrence, value in zip(carried, before, strict=True):
            graph.bind(recurrence.tensor.key, value)
        graph.emit(body.added, inner)
        inner.scope = f"{self.name}/loop"
        kept = [r.next or r.tensor for r in carried]
        leaving = [*kept, *(t for t in body.outputs if not any(t is k for k in kept))]
        results = [inner.op("Identity", graph.value(t.key)) for t in leaving]
        assert end.next is not None
        go_on = inner.op("Identity", _flag(inner, graph.value(end.next.key)))
        loop = inner.graph(f"{self.name}/loop", [count, going, *before], [go_on, *results])
        emitter.scope = self.name
        condition = self._condition(emitter, graph)
        made = emitter.ops("Loop", None, condition, *starts, count=len(results), body=loop)
        last = emitter.const(-1, np.int64)
        places = [next(i for i, left in enumerate(leaving) if left is t) for t in body.outputs]
        return [made[i] if i < len(carried) else emitter.op("Gather", made[i], last, axis=0) for i in places]

    def _end(self, body: LoopBody, graph: Realised) -> _Recurrence:
        """The recurrence tensor that says whether there is another round.  Raises Refused."""
        import onnx_ir

        ends = [r for r in body.recurrent if r.start is self.operands[0]]
        ends = ends or [r for r in body.recurrent if graph.value(r.start.key).dtype == onnx_ir.DataType.BOOL]
        if len(ends) != 1:
            raise Refused(
                f"{len(ends)} recurrence tensors begin as the condition", hint="one of them has to: it ends the loop"
            )
        if ends[0].next is None:
            raise Refused(f"{ends[0].tensor.name} is never updated: the loop would not end")
        return ends[0]


def _flag(emitter: Any, value: Any) -> Any:
    """A truth value of rank 0."""
    import onnx_ir

    value = emitter.cast(value, onnx_ir.DataType.BOOL)
    return emitter.op("Squeeze", value) if emitter.rank(value) else value
