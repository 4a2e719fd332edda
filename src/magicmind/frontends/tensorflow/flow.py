"""Old control flow: which Switch and Merge nodes spell a condition, and which a loop.

A value is *under* conditions: pairs (predicate, side) of the Switch nodes that lead to it. A Merge ends one: its inputs
are under the two sides of the same predicate. Where the predicate is a constant (a switch between training and
inference) only the live side is looked at. A loop is known by its LoopCond: the Switch nodes it decides lead back to
Merge nodes, each with an Enter (the start) and a NextIteration (the next turn).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import onnx_ir

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.tensorflow.control import Branch, run_case, run_if, run_while
from magicmind.frontends.tensorflow.graphdef import Body, Node, Ref
from magicmind.frontends.tensorflow.items import Item
from magicmind.ops.emitter import Value

if TYPE_CHECKING:
    from magicmind.frontends.tensorflow.walk import Walk

Conditions: TypeAlias = "tuple[tuple[Ref, int], ...]"

SWITCH, MERGE, ENTER = ("Switch", "RefSwitch", "_SwitchN"), ("Merge", "RefMerge"), ("Enter", "RefEnter")
EXIT, NEXT = ("Exit", "RefExit"), ("NextIteration", "RefNextIteration")
CONTROL = frozenset({*SWITCH, *MERGE, *ENTER, *EXIT, *NEXT, "LoopCond"})
"""The operators that are read as control flow."""
SAME = ("Identity", "StopGradient", "PlaceholderWithDefault", "Snapshot")
"""Operators that pass on a constant."""


@dataclass(frozen=True)
class Variable:
    """What a loop carries: the names of its nodes. What only the condition reads has no Switch."""

    merge: str
    start: str
    after: str
    switch: str | None = None


@dataclass(frozen=True)
class Loop:
    """A loop; `enters` are the nodes by which values of the graph around it come in."""

    name: str
    condition: Ref
    variables: Sequence[Variable]
    enters: Sequence[str]


class Flow:
    """The control flow of one graph."""

    def __init__(self, body: Body) -> None:
        """Raises ModelFormatError for cycles that are no loops, and for nodes of control flow that lack an input."""
        self._nodes = body.nodes
        for node in body.nodes.values():
            needed = 2 if node.op in SWITCH else 1 if node.op in CONTROL or node.op == "LogicalNot" else 0
            if len(node.inputs) < needed:
                raise ModelFormatError(
                    f"node {node.name!r} ({node.op}) has {len(node.inputs)} inputs; it needs {needed}"
                )
        self.order = _order(body)
        self._under: dict[str, Conditions | None] = {}  # None is never computed
        if any(node.op in SWITCH for node in body.nodes.values()):
            for name in self.order:
                self._under[name] = self._conditions(body.nodes[name])
        self._loops: dict[str, Loop] = {}

    # ---------------------------------------------------------------------------------------------------- conditions

    def truth(self, ref: Ref) -> bool | None:
        """The value of a predicate that is a constant of the file."""
        node = self._nodes.get(ref[0])
        if node is None:
            return None
        if node.op in SAME and node.inputs:
            return self.truth(node.inputs[0])
        if node.op == "LogicalNot":
            inner = self.truth(node.inputs[0])
            return None if inner is None else not inner
        return bool(node.tensor("value").reshape(-1)[:1].any()) if node.op == "Const" else None

    def _root(self, ref: Ref) -> Ref:
        """The predicate behind nodes that pass it on."""
        node = self._nodes.get(ref[0])
        return self._root(node.inputs[0]) if node is not None and node.op in SAME and node.inputs else ref

    def _is_loops(self, node: Node) -> bool:
        """Whether a Switch is decided by a loop's condition."""
        maker = self._nodes.get(node.inputs[1][0])
        return maker is not None and maker.op == "LoopCond"

    def under(self, ref: Ref) -> Conditions | None:
        """The conditions of an output; None when they never hold."""
        found, node = self._under.get(ref[0], ()), self._nodes.get(ref[0])
        if found is None or node is None or node.op not in SWITCH or self._is_loops(node):
            return found
        truth = self.truth(node.inputs[1]) if node.op != "_SwitchN" else None
        if truth is not None:
            return found if truth == bool(ref[1]) else None
        return (*found, (self._root(node.inputs[1]), ref[1]))

    def _conditions(self, node: Node) -> Conditions | None:
        refs = [*node.inputs, *((name, 0) for name in node.controls)]
        if node.op in MERGE:
            live = self.live(node)
            if self._loop_merge(node) or len(live) < 2:
                return self.under(live[0]) if live else None
            return _shared([self.under(ref) or () for ref in live])
        found = [self.under(ref) for ref in refs if ref[0] in self._under]
        if any(conditions is None for conditions in found):
            return None
        return max((c for c in found if c is not None), key=len, default=())

    def live(self, node: Node) -> list[Ref]:
        """The inputs of a Merge that can arrive; of a loop's only the start."""
        if self._loop_merge(node):
            return [ref for ref in node.inputs if self._op(ref) not in NEXT]
        return [ref for ref in node.inputs if self.under(ref) is not None]

    def _op(self, ref: Ref) -> str:
        node = self._nodes.get(ref[0])
        return "" if node is None else node.op

    def _loop_merge(self, node: Node) -> bool:
        return any(self._op(ref) in NEXT for ref in node.inputs)

    def sides(self, node: Node) -> tuple[Ref, dict[int, Ref]]:
        """The predicate of a Merge, and which input comes from which side of it (of a number: from which case)."""
        live = self.live(node)
        shared = len(self._under[node.name] or ())
        found: dict[int, Ref] = {}
        predicate: Ref | None = None
        for ref in live:
            more = (self.under(ref) or ())[shared:]
            if more:
                predicate, side = more[0]
                found[side] = ref
        rest = [ref for ref in live if ref not in found.values()]
        if len(found) == 1 and len(rest) == 1:
            found[1 - next(iter(found))] = rest[0]
        if predicate is None or len(found) != len(live) or sorted(found) != list(range(len(found))):
            raise UnsupportedOperatorError("joins values that no one condition chooses from")
        return predicate, found

    # ----------------------------------------------------------------------------------------------------- traversal

    def sources(self, node: Node) -> list[Ref]:
        """What must be known before the node can be converted."""
        if node.op in EXIT:
            return [self._nodes[name].inputs[0] for name in self.loop_of(node).enters]
        if node.op in MERGE:
            live = self.live(node)
            if len(live) < 2:
                return live
            predicate, _ = self.sides(node)
            return [predicate, *self._outside(live, len(self._under[node.name] or ()))]
        return list(node.inputs[:1] if node.op in SWITCH else node.inputs)

    def _outside(self, refs: Iterable[Ref], depth: int) -> list[Ref]:
        """What branches read from around the condition, which is under `depth` others."""
        found, pending, seen = [], list(refs), set()
        while pending:
            ref = pending.pop()
            if ref in seen:
                continue
            seen.add(ref)
            if len(self.under(ref) or ()) <= depth or ref[0] not in self._nodes:
                found.append(ref)
            else:
                pending += self.sources(self._nodes[ref[0]])
        return found

    def reachable(self, refs: Iterable[Ref], stop: Iterable[str] = ()) -> dict[str, Node]:
        """All nodes that lead to these outputs, those inside loops and branches among them."""
        found: dict[str, Node] = {}
        pending, barred = [name for name, _ in refs], set(stop)
        while pending:
            name = pending.pop()
            if name in found or name in barred or name not in self._nodes:
                continue
            node = found[name] = self._nodes[name]
            inputs = self.live(node) if node.op in MERGE and not self._loop_merge(node) else node.inputs
            pending += [name for name, _ in inputs]
        return found

    # --------------------------------------------------------------------------------------------------------- loops

    def loop_of(self, node: Node) -> Loop:
        """The loop that an Exit leaves."""
        switch = self._nodes[node.inputs[0][0]]
        if switch.op not in SWITCH or not self._is_loops(switch):
            raise ModelFormatError("leaves no loop: its input is no Switch of a LoopCond")
        name = switch.inputs[1][0]
        if name not in self._loops:
            self._loops[name] = self._loop(self._nodes[name])
        return self._loops[name]

    def _loop(self, condition: Node) -> Loop:
        variables = [
            self._variable(condition, switch.inputs[0][0], switch.name)
            for switch in self._nodes.values()
            if switch.op in SWITCH and switch.inputs[1][0] == condition.name
        ]
        frames = {self._nodes[v.start].attr("frame_name") for v in variables}
        while True:
            refs = [condition.inputs[0], *(self._nodes[v.after].inputs[0] for v in variables)]
            inside = self.reachable(refs, [v.merge for v in variables])
            more = [self._variable(condition, n.name) for n in inside.values() if self._carries(n, frames)]
            if not more:
                break
            variables += more
        enters = [n.name for n in inside.values() if n.op in ENTER and n.attr("frame_name") in frames]
        return Loop(
            condition.name,
            condition.inputs[0],
            variables,
            list(dict.fromkeys([*(v.start for v in variables), *enters])),
        )

    def _variable(self, condition: Node, merge: str, switch: str | None = None) -> Variable:
        inputs = [name for name, _ in self._nodes[merge].inputs if name in self._nodes]
        starts = [n for n in inputs if self._nodes[n].op in ENTER]
        nexts = [n for n in inputs if self._nodes[n].op in NEXT]
        if len(starts) != 1 or len(nexts) != 1:
            raise ModelFormatError(f"loop {condition.name!r}: {merge!r} has no Enter and NextIteration")
        return Variable(merge, starts[0], nexts[0], switch)

    def _carries(self, node: Node, frames: Collection[object]) -> bool:
        """Whether a node is the Merge of a variable of the loop in these frames."""
        enters = [self._nodes[name] for name, _ in node.inputs if self._op((name, 0)) in ENTER]
        return node.op in MERGE and self._loop_merge(node) and any(e.attr("frame_name") in frames for e in enters)

    # ---------------------------------------------------------------------------------------------------- conversion

    def convert(self, walk: Walk, node: Node) -> Sequence[Item] | None:
        """The items of a node of control flow; None for any other."""
        if node.op in SWITCH:
            return [walk.item(node.inputs[0])] * int(node.attr("num_outs", 2))
        if node.op in EXIT:
            return [self._exit(walk, node)]
        if node.op in MERGE:
            return [self._merge(walk, node)]
        return [walk.item(node.inputs[0])] if node.op in CONTROL else None

    def _merge(self, walk: Walk, node: Node) -> Item:
        live = self.live(node)
        if len(live) < 2:
            if not live:
                raise ModelFormatError("none of its inputs can ever arrive")
            return walk.item(live[0])
        predicate, sides = self.sides(node)
        condition = walk.item(predicate)
        if not isinstance(condition, Value):
            raise ModelFormatError("its condition is no real tensor")

        def branch(side: int) -> Branch:
            return lambda: walk.inner(walk.net, {}, f"{node.name}/{side}/").run([sides[side]])

        branches = [branch(side) for side in sorted(sides)]
        if walk.net.type(condition).dtype == onnx_ir.DataType.BOOL:
            return run_if(walk, node.name, condition, branches[::-1])[0]
        return run_case(walk, node.name, condition, branches)[0]

    def _exit(self, walk: Walk, node: Node) -> Item:
        loop = self.loop_of(node)
        number = [v.switch for v in loop.variables].index(node.inputs[0][0])
        if walk.find((loop.name, -1)) is None:
            for i, item in enumerate(self._run_loop(walk, loop)):
                walk.give((loop.name, -1 - i), item)
        return walk.item((loop.name, -1 - number))

    def _run_loop(self, walk: Walk, loop: Loop) -> list[Item]:
        given = {(name, 0): walk.item(self._nodes[name].inputs[0]) for name in loop.enters}

        def known(items: Sequence[Item]) -> dict[Ref, Item]:
            pairs = list(zip(loop.variables, items, strict=True))
            return given | {(v.merge, 0): i for v, i in pairs} | {(v.switch, 1): i for v, i in pairs if v.switch}

        def condition(items: Sequence[Item]) -> Value:
            found = walk.inner(walk.net, known(items), "condition/").run([loop.condition])[0]
            assert isinstance(found, Value)
            return found

        def turn(items: Sequence[Item]) -> list[Item]:
            inner = walk.inner(walk.net, known(items))
            return inner.run([self._nodes[v.after].inputs[0] for v in loop.variables])

        start = [given[v.start, 0] for v in loop.variables]
        return run_while(walk, loop.name, start, condition, turn)


def _shared(paths: Sequence[Conditions]) -> Conditions:
    """What conditions have in common from the front."""
    length = 0
    while all(len(p) > length for p in paths) and len({p[length] for p in paths}) == 1:
        length += 1
    return paths[0][:length]


def _order(body: Body) -> dict[str, int]:
    """Every node's place in an order in which inputs come first.  Raises ModelFormatError for cycles."""
    order: dict[str, int] = {}
    open_: set[str] = set()
    for start in body.nodes:
        pending = [start]
        while pending:
            name = pending[-1]
            if name in order:
                pending.pop()
                continue
            missing = [n for n in _before(body, name) if n not in order]
            if not missing:
                order[name] = len(order)
                open_.discard(name)
                pending.pop()
                continue
            circle = next((n for n in missing if n in open_), None)
            if circle is not None:
                raise ModelFormatError(f"node {circle!r} depends on its own result: the graph has a cycle")
            open_.add(name)
            pending += missing
    return order


def _before(body: Body, name: str) -> list[str]:
    node = body.nodes[name]
    names = [n for n in (*(n for n, _ in node.inputs), *node.controls) if n in body.nodes]
    return [n for n in names if node.op not in MERGE or body.nodes[n].op not in NEXT]
