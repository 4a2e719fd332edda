"""If and Loop nodes from what branches and turns do; `walk.net` is the nested graph while they are converted.

What a turn passes on unchanged is not carried but read from around the loop, so that weights stay constants. A list of
tensors whose element shape nobody has told yet learns it from a first conversion of the turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import onnx_ir

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.frontends.tensorflow.call import known
from magicmind.frontends.tensorflow.items import Item, Table, TensorList, like, values_of
from magicmind.ir.dims import symbol, symbols_of
from magicmind.ir.types import TensorType
from magicmind.ops.control_flow import is_inner, joined
from magicmind.ops.emitter import Value
from magicmind.ops.registry import data_symbol
from magicmind.ops.shapes import MustEqual

if TYPE_CHECKING:
    from magicmind.frontends.tensorflow.walk import Walk

Branch = Callable[[], Sequence[Item]]

_BOOL = onnx_ir.DataType.BOOL
_MOST_ROUNDS = 8  # of finding what a loop carries: each gives up at least one thing


@contextmanager
def _inside(walk: Walk, net: Network) -> Iterator[Network]:
    """Writes into a nested graph."""
    before, walk.net = walk.net, net
    try:
        yield net
    finally:
        walk.net = before


def flag(net: Network, value: Value) -> Value:
    """A condition as ONNX wants it: a bool scalar; numbers hold unless they are zero."""
    found = net.cast(value, _BOOL)
    return found if net.rank(found) == 0 else net.reshape(found)


def run_if(walk: Walk, name: str, condition: Value, branches: Sequence[Branch]) -> list[Item]:
    """What the first branch gives if the condition holds, else the second; an If unless the condition is known."""
    truth = known(walk.shared.state, condition)
    if truth is not None:
        return list(branches[0 if truth.any() else 1]())
    outer, nets, sides = walk.net, [], []
    for label, branch in zip(("then", "else"), branches, strict=True):
        with _inside(walk, outer.nested(f"{walk.prefix}{name}/{label}")) as net:
            sides.append(list(branch()))
            nets.append(net)
    sides = _same_lists(nets, sides)
    graphs = [
        net.graph({f"{net.name}/{i}": value for i, value in enumerate(values_of(items))})
        for net, items in zip(nets, sides, strict=True)
    ]
    count = len(sides[0])
    outputs = outer.ops("If", flag(outer, condition), count=count, then_branch=graphs[0], else_branch=graphs[1])
    return [like(item, value) for item, value in zip(sides[0], outputs, strict=True)]


def run_case(walk: Walk, name: str, number: Value, branches: Sequence[Branch]) -> list[Item]:
    """What the branch with this number gives, for all others the last one: If in If."""

    def run(i: int) -> Sequence[Item]:
        if i == len(branches) - 1:
            return branches[i]()
        chosen = walk.net.op("Equal", number, walk.net.scalar(i, number))
        return run_if(walk, f"{name}/{i}", chosen, [branches[i], lambda: run(i + 1)])

    return list(run(0))


def _same_lists(nets: Sequence[Network], sides: Sequence[list[Item]]) -> list[list[Item]]:
    """The items with lists made dense where the other branch tells the shape."""
    found: list[list[Item]] = [[], []]
    for pair in zip(*sides, strict=True):
        shapes = [
            net.shape(item.data)[1:]
            for net, item in zip(nets, pair, strict=True)
            if isinstance(item, TensorList) and item.data is not None
        ]
        for side, (net, item) in enumerate(zip(nets, pair, strict=True)):
            found[side].append(item.dense(net, shapes[0]) if isinstance(item, TensorList) and shapes else item)
    return found


def run_while(
    walk: Walk,
    name: str,
    start: Sequence[Item],
    condition: Callable[[Sequence[Item]], Value],
    turn: Callable[[Sequence[Item]], Sequence[Item]],
) -> list[Item]:
    """What is left of `start` after turns as long as the condition holds: a Loop."""
    items, kept = list(start), set[int]()
    types: dict[int, TensorType] = {}
    fixed: set[tuple[int, int]] = set()
    for _ in range(_MOST_ROUNDS):
        attempt = _Attempt(walk, name, items, kept, types, fixed)
        try:
            with _inside(walk, attempt.net):
                after = attempt.settled(turn(attempt.inside))
                again = flag(attempt.net, condition(after))
        except MustEqual as error:
            if not attempt.fix(error):
                raise
            continue
        if not attempt.learn(after):
            return attempt.loop(after, again, flag(walk.net, condition(items)))
    raise ShapeError(f"what the loop {name!r} carries does not settle to a shape")


class _Attempt:
    """A conversion of the body with what is known so far of what it carries.

    `fixed` are the axes (of what item, which) that no turn changes, as the network would not fit otherwise.
    """

    def __init__(
        self,
        walk: Walk,
        name: str,
        items: list[Item],
        kept: set[int],
        types: dict[int, TensorType],
        fixed: set[tuple[int, int]],
    ) -> None:
        self._outer, self._items, self._kept, self._types, self._fixed = walk.net, items, kept, types, fixed
        self._name = f"{walk.prefix}{name}"
        self.net = walk.net.nested(f"{self._name}/body")
        self.net.input(f"{self._name}/turn", TensorType(onnx_ir.DataType.INT64, ()))
        self.net.input(f"{self._name}/condition", TensorType(_BOOL, ()))
        self.inside = [self._enter(i, item) for i, item in enumerate(items)]

    def _enter(self, i: int, item: Item) -> Item:
        if i in self._kept or isinstance(item, Table) or (isinstance(item, TensorList) and item.data is None):
            return item
        value = values_of([item])[0]
        t = self._types.setdefault(i, self._outer.type(value))
        return like(item, self.net.input(f"{self._name}/carried{i}", t))

    def fix(self, error: MustEqual) -> bool:
        """Says of sizes that were left open, and that do not fit so, that they stay as they are at the start."""
        asked = symbols_of(error.a) | symbols_of(error.b)
        found = set()
        for i, item in enumerate(self.inside):
            if i in self._types:
                start, inner = self._outer.type(values_of([self._items[i]])[0]), values_of([item])[0]
                axes = [a for a, d in enumerate(self.net.shape(inner)) if str(d) == data_symbol(inner, a)]
                found |= {(i, a) for a in axes if data_symbol(inner, a) in asked}
                kept = (start.dims[a] if (i, a) in found else d for a, d in enumerate(self._types[i].dims))
                self._types[i] = TensorType(start.dtype, tuple(kept))
        self._fixed |= found
        return bool(found)

    def settled(self, after: Sequence[Item]) -> list[Item]:
        """What a turn makes, with the sizes that stay as they are."""
        return [self._settled(i, item) for i, item in enumerate(after)]

    def _settled(self, i: int, item: Item) -> Item:
        axes = [axis for n, axis in self._fixed if n == i]
        if not axes:
            return item
        value, net = values_of([item])[0], self.net
        sizes = [net.dim(value, a) for a in range(net.rank(value))]
        for axis in axes:
            size = self._types[i].dims[axis]
            net.equate(net.shape(value)[axis], size)
            sizes[axis] = net.shape_vector(size)
        return like(item, net.op("Reshape", value, net.op("Concat", *sizes, axis=0), allowzero=1))

    def learn(self, after: Sequence[Item]) -> bool:
        """Whether the turn tells something new: what it keeps, the shape of a list, a size that changes."""
        new = False
        for i, (item, before, now) in enumerate(zip(self._items, self.inside, after, strict=True)):
            if i in self._kept:
                continue
            if _same(before, now):
                self._kept.add(i)
            elif isinstance(item, TensorList) and isinstance(now, TensorList) and item.data is None:
                self._items[i] = self._dense(item, now)
            elif not self._wider(i, before, now):
                continue
            new = True
        return new

    def _dense(self, item: TensorList, now: TensorList) -> TensorList:
        element = self.net.shape(now.tensor())[1:]
        if any(is_inner(d) for d in element):
            raise UnsupportedOperatorError(f"the loop {self._name!r} fills a list with tensors of unforeseen shape")
        return item.dense(self._outer, element)

    def _wider(self, i: int, before: Item, now: Item) -> bool:
        """Whether the value does not keep the type assumed; the type then leaves open what changes."""
        inner, value = values_of([before, now])
        t = joined(self.net.type(inner), self.net.type(value), lambda axis: symbol(data_symbol(inner, axis)))
        assert isinstance(t, TensorType)
        changed = t != self._types[i]
        self._types[i] = t
        return changed

    def loop(self, after: Sequence[Item], again: Value, begins: Value) -> list[Item]:
        """The finished node."""
        carried = [i for i in range(len(self._items)) if i not in self._kept]
        results = {f"{self._name}/condition_out": again}
        results |= {f"{self._name}/carried{i}_out": values_of([after[i]])[0] for i in carried}
        graph = self.net.graph(results)
        start = values_of([self._items[i] for i in carried])
        outputs = self._outer.ops("Loop", None, begins, *start, count=len(carried), body=graph) if carried else []
        left = list(self._items)
        for i, value in zip(carried, outputs, strict=True):
            left[i] = like(self._items[i], value)
        return left


def _same(before: Item, now: Item) -> bool:
    if isinstance(before, TensorList) and isinstance(now, TensorList):
        return before is now or (before.data is not None and before.data is now.data)
    return before is now
