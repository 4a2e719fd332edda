"""Calls of functions, and control flow of today: If, While, Case."""

from __future__ import annotations

from collections.abc import Sequence

from magicmind.errors import ModelFormatError
from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.control import Branch, run_case, run_if, run_while
from magicmind.frontends.tensorflow.items import Item
from magicmind.ops.control_flow import is_inner
from magicmind.ops.emitter import Value


@importer("PartitionedCall", "StatefulPartitionedCall")
def call(c: Call) -> Sequence[Item]:
    """The function written out."""
    return c.walk.call(str(c.attr("f")), c.inputs, c.net, c.node.name)


@importer("If", "StatelessIf")
def if_(c: Call) -> Sequence[Item]:
    """If; only the branch taken where the condition is known."""

    def branch(which: str) -> Sequence[Item]:
        return c.walk.call(str(c.attr(f"{which}_branch")), c.inputs[1:], c.walk.net, f"{c.node.name}/{which}")

    return _declared(c, run_if(c.walk, c.node.name, c.x, [lambda: branch("then"), lambda: branch("else")]))


def _declared(c: Call, items: Sequence[Item]) -> list[Item]:
    """The items with the sizes that the node declares for what only the data tells."""
    shapes = c.attr("output_shapes") or []
    return [
        _sized(c, item, shapes[i]) if isinstance(item, Value) and i < len(shapes) else item
        for i, item in enumerate(items)
    ]


def _sized(c: Call, value: Value, declared: Sequence[int] | None) -> Value:
    net, dims = c.walk.net, c.walk.net.shape(value)
    if declared is None or len(declared) != len(dims) or 0 in declared:
        return value
    told = [size if size > 0 and is_inner(dim) else 0 for size, dim in zip(declared, dims, strict=True)]
    return net.op("Reshape", value, net.ints(*told), allowzero=0) if any(told) else value


@importer("Case", "StatelessCase")
def case(c: Call) -> Sequence[Item]:
    """The branch with the number given, the last one for numbers outside."""
    names = [str(name) for name in c.attr("branches", [])]
    if not names:
        raise ModelFormatError("has no branches")

    def branch(i: int) -> Branch:
        return lambda: c.walk.call(names[i], c.inputs[1:], c.walk.net, f"{c.node.name}/{i}")

    return run_case(c.walk, c.node.name, c.x, [branch(i) for i in range(len(names))])


@importer("While", "StatelessWhile")
def while_(c: Call) -> Sequence[Item]:
    """Loop."""

    def condition(items: Sequence[Item]) -> Value:
        found = c.walk.call(str(c.attr("cond")), items, c.walk.net, f"{c.node.name}/cond")
        if len(found) != 1 or not isinstance(found[0], Value):
            raise ModelFormatError("its condition is no tensor")
        return found[0]

    def turn(items: Sequence[Item]) -> Sequence[Item]:
        return _declared(c, c.walk.call(str(c.attr("body")), items, c.walk.net, f"{c.node.name}/body"))

    return run_while(c.walk, c.node.name, c.inputs, condition, turn)
