"""Walks the graphs of `torch.export` and `torch.compile`: flat lists of ATen operators with every argument in place."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch.fx import GraphModule, Node

from magicmind.errors import Error, UnsupportedOperatorError
from magicmind.frontends.pytorch.control import run_if
from magicmind.frontends.pytorch.converter import Converter, Missing
from magicmind.frontends.pytorch.importers import find
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ir.dims import dim_max, dim_min

_ON_SIZES: dict[Any, Callable[..., Any]] = {
    torch.sym_max: lambda a, b: dim_max(a, b),
    torch.sym_min: lambda a, b: dim_min(a, b),
    torch.sym_not: operator.not_,
    operator.getitem: operator.getitem,
    operator.add: operator.add,
    operator.sub: operator.sub,
    operator.mul: operator.mul,
    operator.floordiv: operator.floordiv,
    operator.mod: operator.mod,
    operator.neg: operator.neg,
}
_COMPARISONS = {
    operator.eq: "aten::eq", operator.ne: "aten::ne", operator.lt: "aten::lt", operator.le: "aten::le",
    operator.gt: "aten::gt", operator.ge: "aten::ge",
}  # fmt: skip


class Walk:
    """Runs graph modules over the graph of a converter; `named`: values take the names of the module's nodes."""

    def __init__(self, converter: Converter, named: bool = True) -> None:
        self._c = converter
        self._named = named

    def run(self, module: GraphModule, args: Sequence[Any]) -> Any:
        """What the module's graph returns for `args`."""
        env: dict[Node, Any] = {}
        given = iter(args)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                env[node] = next(given)
            elif node.op == "get_attr":
                found = _attribute(module, str(node.target))
                env[node] = Tensor(found.detach()) if isinstance(found, torch.Tensor) else found
            elif node.op == "output":
                return _resolved(node.args[0], env)
            else:
                env[node] = self._node(node, env)
                if self._named and isinstance(env[node], Tensor) and env[node].constant is None:
                    self._c.net.bind(node.name, self._c.value(env[node]))
        raise UnsupportedOperatorError("the graph has no output")

    def _node(self, node: Node, env: dict[Node, Any]) -> Any:
        try:
            with self._c.net.at(label(node)) if self._named else nullcontext():
                return self._call(node, _resolved(node.args, env), _resolved(node.kwargs, env))
        except Missing as error:
            raise Missing(f"{error} ({source_line(node)})") from error
        except Error as error:
            error.add_note(f"in {label(node)} ({source_line(node)})")
            raise

    def _call(self, node: Node, args: Sequence[Any], named: dict[str, Any]) -> Any:
        target = node.target
        if isinstance(target, torch._ops.OpOverload):
            schema = target._schema
            return self._c.call(schema.name, _positional(schema, args, named), schema)
        if target is torch.ops.higher_order.cond:
            condition, yes, no, operands = args
            return run_if(self._c, condition, [partial(self.run, branch, operands) for branch in (yes, no)])
        if target in _COMPARISONS:
            return self._c.call(_COMPARISONS[target], args)
        if target in _ON_SIZES:
            return _ON_SIZES[target](*args)
        raise Missing(f"{target} has no importer")


def _resolved(value: Any, env: dict[Node, Any]) -> Any:
    """Arguments with nodes replaced by what they gave."""
    if isinstance(value, dict):
        return {key: _resolved(item, env) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_resolved(item, env) for item in value]
        return tuple(items) if type(value) is tuple else items
    return env[value] if isinstance(value, Node) else value


def _positional(schema: torch.FunctionSchema, args: Sequence[Any], named: dict[str, Any]) -> list[Any]:
    """Every argument of the schema in order, those left out with their defaults."""
    rest = list(schema.arguments)[len(args) :]
    return [*args, *(named.get(a.name, a.default_value) for a in rest)]


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def label(node: Node) -> str:
    """The path of the module that ran the operator, and the operator."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next((str(entry[0]) for entry in reversed(stack.values())), "")
    path = path.removeprefix("L['self'].").removeprefix("L['self']")
    name = node.target._schema.name.partition("::")[2] if isinstance(node.target, torch._ops.OpOverload) else node.name
    return f"{path}.{name}" if path else name


def source_line(node: Node) -> str:
    """The innermost line of the program that made a node."""
    trace = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    lines = [line for line in trace if line.startswith("File")]
    if not lines:
        return f"node {node.name}"
    file, line = lines[-1].split(",")[:2]
    return f"{file.removeprefix('File ').strip(chr(34))},{line}"


def missing_operators(module: GraphModule) -> list[str]:
    """`operator (source line)` for all operators of a graph without an importer, each once."""
    found: dict[str, str] = {}
    for node in module.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            name = node.target._schema.name
            if find(name) is None and find(name.removesuffix("_")) is None:
                found.setdefault(name, source_line(node))
    return [f"{name} ({line})" for name, line in found.items()]
