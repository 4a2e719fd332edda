"""Converts nodes in the order of their inputs; a walk belongs to one graph and writes into one `Network`.

Bodies of loops and branches are walks of their own, which see what the walk around them has made. The nodes of old
control flow (Switch, Merge, Enter, Exit) are read as the While and If that they spell: `flow.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from magicmind.errors import Error, ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.frontends.tensorflow.call import IMPORTERS, ON_COMPLEX, ON_PARTS, Call, State
from magicmind.frontends.tensorflow.flow import Flow
from magicmind.frontends.tensorflow.graphdef import Body, Node, Ref
from magicmind.frontends.tensorflow.items import Complex, Item, Table, TensorList, values_of
from magicmind.frontends.tensorflow.layout import CHANNELS_FIRST
from magicmind.frontends.tensorflow.spaced import remember
from magicmind.ops.emitter import Value
from magicmind.ops.shapes import MustEqual

_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""What importers raise on attributes that make no sense."""

_DEEPEST = 64  # functions that call functions


@dataclass
class Shared:
    """What all walks of a conversion share."""

    functions: Mapping[str, Body]
    state: State = field(default_factory=State)
    flows: dict[int, Flow] = field(default_factory=dict)  # by the id of a body

    def flow(self, body: Body) -> Flow:
        """The control flow of a body."""
        found = self.flows.get(id(body))
        if found is None:
            found = self.flows[id(body)] = Flow(body)
        return found


class Walk:
    """One pass over what some results need. `known` are the items that are given, by output."""

    def __init__(
        self,
        shared: Shared,
        body: Body,
        net: Network,
        known: Mapping[Ref, Item],
        *,
        outer: Walk | None = None,
        prefix: str = "",
        depth: int = 0,
    ) -> None:
        self.shared, self.body, self.net = shared, body, net
        self.flow = shared.flow(body)
        self.prefix, self.depth = prefix, depth
        self._items = dict(known)
        self._outer = outer

    def run(self, refs: Sequence[Ref]) -> list[Item]:
        """The items of some outputs."""
        for node in self._needed(refs):
            self._convert(node)
        return [self.item(ref) for ref in refs]

    def item(self, ref: Ref) -> Item:
        """What an output is.  Raises ModelFormatError when its node has no such output."""
        found = self.find(ref)
        if found is None:
            raise ModelFormatError(f"node {ref[0]!r} has no output {ref[1]}")
        return found

    def find(self, ref: Ref) -> Item | None:
        """What an output is, if it was made here or around here."""
        walk: Walk | None = self
        while walk is not None:
            if ref in walk._items:
                return walk._items[ref]
            walk = walk._outer
        return None

    def give(self, ref: Ref, item: Item) -> None:
        """Says what an output is."""
        self._items[ref] = item

    def inner(self, net: Network, known: Mapping[Ref, Item], label: str = "") -> Walk:
        """A walk over the same graph for a nested one; `label` keeps the names of several apart."""
        return Walk(
            self.shared, self.body, net, known, outer=self, prefix=f"{self.prefix}{label}", depth=self.depth + 1
        )

    def call(self, name: str, items: Sequence[Item], net: Network, label: str) -> list[Item]:
        """The results of a function of the library, written out.  Raises ModelFormatError when there is none such."""
        body = self.shared.functions.get(name)
        if body is None:
            raise ModelFormatError(f"calls the function {name!r}, which the file does not have")
        if len(items) != len(body.arguments):
            raise ModelFormatError(f"calls {name!r} with {len(items)} arguments; it takes {len(body.arguments)}")
        if self.depth >= _DEEPEST:
            raise UnsupportedOperatorError(f"functions call each other more than {_DEEPEST} deep: {name!r}")
        known = {(argument, 0): item for argument, item in zip(body.arguments, items, strict=True)}
        prefix = f"{self.prefix}{label}/"
        return Walk(self.shared, body, net, known, prefix=prefix, depth=self.depth + 1).run(body.results)

    # --------------------------------------------------------------------------------------------------------- nodes

    def _needed(self, refs: Iterable[Ref]) -> list[Node]:
        """The nodes that lead to these outputs and are not made yet, each after those it needs.

        What a loop reads besides its start is not in front of its Exit in the file's own order.
        """
        found: dict[str, Node] = {}
        pending = [name for name, number in reversed(list(refs)) if self.find((name, number)) is None]
        opened: set[str] = set()
        while pending:
            name = pending[-1]
            if name in found:
                pending.pop()
                continue
            if name not in self.body.nodes:
                raise ModelFormatError(f"the graph has no node {name!r}")
            node = self.body.nodes[name]
            missing = [] if name in opened else [r[0] for r in self.flow.sources(node) if self.find(r) is None]
            opened.add(name)
            missing = [n for n in missing if n not in found and n not in opened]
            if missing:
                pending += reversed(missing)
            else:
                found[name] = node
                pending.pop()
        return list(found.values())

    def _convert(self, node: Node) -> None:
        what = f"{self.prefix}{node.name} (TensorFlow {node.op})"
        try:
            with self.net.at(f"{self.prefix}{node.name}"):
                made = self._import(node)
        except MustEqual as error:  # two symbols that are one: said once more when they are
            error.add_note(f"in {what}")
            raise
        except Error as error:
            raise located(error, what) from error
        except _MALFORMED as error:
            raise ModelFormatError(f"{what} is malformed: {type(error).__name__}: {error}") from error
        for i, item in enumerate(made):
            self._items.setdefault((node.name, i), item)  # what a loop carries is given
            if isinstance(item, Value):
                name = f"{self.prefix}{node.name}" + (f":{i}" if i else "")
                self.net.bind(name, item)
                twin = self.shared.state.twins.get(item)
                if twin is not None:
                    self.net.bind(f"{name}{CHANNELS_FIRST}", twin)

    def _import(self, node: Node) -> Sequence[Item]:
        special = self.flow.convert(self, node)
        if special is not None:
            return special
        if node.op not in IMPORTERS and node.op not in ON_COMPLEX:
            raise UnsupportedOperatorError("has no importer")
        call = Call(self, node, [self.item(ref) for ref in node.inputs])
        made = _run(call)
        items = [made] if isinstance(made, (Value, TensorList, Complex, Table)) else made
        if items and isinstance(items[0], Value):
            remember(call, items[0])
        return items


def _run(c: Call) -> Item | Sequence[Item]:
    """What the node's importer makes: of complex inputs the one for these, or of each part."""
    if not any(isinstance(item, Complex) for item in c.inputs):
        return (IMPORTERS.get(c.node.op) or ON_COMPLEX[c.node.op])(c)
    if c.node.op in ON_COMPLEX:
        return ON_COMPLEX[c.node.op](c)
    if c.node.op not in ON_PARTS:
        return IMPORTERS[c.node.op](c)
    sides = []
    for part in ("re", "im"):
        inputs = [getattr(item, part) if isinstance(item, Complex) else item for item in c.inputs]
        found = IMPORTERS[c.node.op](replace(c, inputs=inputs))
        sides.append([found] if isinstance(found, Value) else list(found))  # type: ignore[arg-type]
    return [Complex(*values_of(pair)) for pair in zip(*sides, strict=True)]


def located(error: Error, what: str) -> Error:
    """The error with the node in front, unless its text has one."""
    text = str(error)
    if "(TensorFlow " in text:
        return error
    kind = next((k for k in (ShapeError, UnsupportedOperatorError, ModelFormatError) if isinstance(error, k)), Error)
    return kind(f"{what}: {text}")
