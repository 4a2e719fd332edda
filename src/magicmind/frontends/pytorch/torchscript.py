"""Runs a TorchScript program on types: every operator it reaches becomes nodes of the graph.

What is known at conversion (numbers, lists, branches on them, loops over them) is simply executed; branches and loops
that depend on data become If and Loop. Methods are called as they stand in the file, so the path of the module that is
running names what is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

from magicmind.errors import Error, UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.frontends.pytorch.control import Raised, run_if
from magicmind.frontends.pytorch.converter import Converter, Missing
from magicmind.frontends.pytorch.importers import IMPORTERS
from magicmind.frontends.pytorch.loops import run_loop
from magicmind.frontends.pytorch.values import Items, Tensor

CALL_METHOD = "magicmind::CallMethod"
_MAX_TURNS = 10_000  # of a loop that is executed at conversion

Env = dict[int, Any]
"""Values of a method by the number that TorchScript gives them."""


class Object:
    """An object of a class that is no module; what is set outside of branches and loops stays known."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self.attributes: dict[str, Any] = {}

    def set(self, name: str, value: Any, net: Network) -> None:
        """Sets an attribute.  Raises UnsupportedOperatorError where a branch or loop that depends on data does."""
        if net is not self._net:
            raise UnsupportedOperatorError(f"a branch or loop that depends on data sets the attribute {name!r}")
        self.attributes[name] = value


@dataclass(frozen=True)
class Module:
    """A module of the program by its path from the root ('' for the root itself)."""

    path: str
    script: torch.jit.ScriptModule

    def child(self, name: str) -> str:
        """The path of an attribute."""
        return f"{self.path}.{name}" if self.path else name


class Program(Converter):
    """One run of a method over the graph `net`."""

    def __init__(self, net: Network, state: Mapping[str, Any] | None = None) -> None:
        super().__init__(net)
        self.state.update(state or {})
        self._modules: list[str] = []

    def run(self, module: torch.jit.ScriptModule, method: str, args: Sequence[Any]) -> Any:
        """What the method returns for `args`."""
        return self._method(Module("", module), method, args)

    # ------------------------------------------------------------------------------------------------------ methods

    def _method(self, module: Module, name: str, args: Sequence[Any]) -> Any:
        graph = method_graph(module.script, name)
        self._modules.append(module.path)
        try:
            (result,) = self.block(graph, dict(zip(_ids(graph.inputs()), [module, *args], strict=True)))
        finally:
            self._modules.pop()
        self.returned(module, result)
        return result

    def returned(self, module: Module, result: Any) -> None:
        """Called with what a method returns: the module's path names it."""
        if isinstance(result, Tensor) and module.path and result.constant is None:
            self.net.bind(module.path, self.value(result))

    def block(self, block: Any, env: Env) -> list[Any]:
        """Runs the nodes of a block; its results."""
        for node in block.nodes():
            self._node(node, env)
        return [env[v.unique()] for v in block.outputs()] if hasattr(block, "outputs") else []

    def _node(self, node: Any, env: Env) -> None:
        kind = node.kind()
        args = [env[v.unique()] for v in node.inputs()]
        special = _SPECIAL.get(kind)
        try:
            if special is not None:
                results = special(self, node, args, env)
            else:
                with self.net.at(self._label(node, kind)):
                    results = self.call(kind, args, _schema(node.schema()))
        except Missing as error:
            raise Missing(f"{error} ({source_line(node)})") from error
        except Error as error:
            if not getattr(error, "located", False):
                error.add_note(f"in {self._label(node, kind)} ({source_line(node)})")
                error.located = True  # type: ignore[attr-defined]
            raise
        outputs = list(node.outputs())
        if len(outputs) == 1:
            env[outputs[0].unique()] = results
        elif outputs:
            for value, result in zip(outputs, results, strict=True):
                env[value.unique()] = result

    def _label(self, node: Any, kind: str) -> str:
        """What the nodes made for `node` are called."""
        path = self._modules[-1] if self._modules else ""
        name = kind.partition("::")[2]
        return f"{path}.{name}" if path else name

    # --------------------------------------------------------------------------------------------------- attributes

    def get_attribute(self, module: Module, name: str) -> Any:
        """An attribute as the program has left it, else as the file has it."""
        path = module.child(name)
        if path in self.state:
            return self.state[path]
        found = getattr(module.script, name)
        if isinstance(found, torch.jit.ScriptModule):
            return Module(path, found)
        if isinstance(found, torch.Tensor):
            self.state[path] = Tensor(found.detach())
            return self.state[path]
        if isinstance(found, (list, tuple, dict)):
            raise_if_modules(path, found)
            self.state[path] = _wrapped(found)
            return self.state[path]
        return found

    def set_attribute(self, module: Module, name: str, value: Any) -> None:
        """Sets an attribute for the rest of the run."""
        path = module.child(name)
        self.state[path] = value
        self.assigned[path] = None


def raise_if_modules(path: str, found: Any) -> None:
    """Raises UnsupportedOperatorError for attributes that hold objects."""
    for item in found:
        if isinstance(item, torch.jit.ScriptModule):
            raise UnsupportedOperatorError(f"attribute {path!r} is a list of modules")


def _wrapped(found: Any) -> Any:
    if isinstance(found, torch.Tensor):
        return Tensor(found.detach())
    if isinstance(found, dict):
        return {key: _wrapped(item) for key, item in found.items()}
    if isinstance(found, (list, tuple)):
        return type(found)(_wrapped(item) for item in found)
    return found


# ------------------------------------------------------------------------------------------------------------ graphs


def method_graph(module: torch.jit.ScriptModule, method: str) -> Any:
    """The graph of a method, with the functions it calls written out, but not the methods of modules."""
    graph = module._c._get_method(method).graph.copy()
    made = {str(node.output().type()) for node in graph.findAllNodes("prim::CreateObject")}
    _hide_methods(graph, graph, made)
    torch._C._jit_pass_inline(graph)
    return graph


def _hide_methods(graph: Any, block: Any, made: Collection[str]) -> None:
    """Renames calls of methods, which inlining would write out, and their path with them; not those of objects of the
    classes `made`."""
    for node in list(block.nodes()):
        for inner in node.blocks():
            _hide_methods(graph, inner, made)
        if node.kind() == "prim::CallMethod" and str(next(node.inputs()).type()) not in made:
            call = graph.create(CALL_METHOD, list(node.inputs()), 1)
            call.s_("name", node.s("name")).insertBefore(node)
            call.output().setType(node.output().type())
            node.output().replaceAllUsesWith(call.output())
            node.destroy()


def _ids(values: Any) -> list[int]:
    return [v.unique() for v in values]


@cache
def _schema(text: str) -> torch.FunctionSchema | None:
    """The schema of a node; None for what has none."""
    return None if text in ("(no schema)", "") else torch._C.parse_schema(text)


def source_line(node: Any) -> str:
    """Where the operator stands in the Python source that the file remembers."""
    found = re.search(r'File "([^"]+)", line (\d+)', node.sourceRange())
    return f"{found[1]}, line {found[2]}" if found else f"TorchScript: {str(node).strip().splitlines()[0][:120]}"


def missing_operators(module: torch.jit.ScriptModule, method: str) -> list[str]:
    """`operator (source line)` for all operators of the program without an importer, each once."""
    found: dict[str, str] = {}

    def visit(block: Any) -> None:
        for node in block.nodes():
            kind = node.kind()
            known = kind in _SPECIAL or kind in IMPORTERS or kind.removesuffix("_") in IMPORTERS
            if not known and kind.startswith(("aten::", "quantized::")) and kind not in found:
                found[kind] = source_line(node)
            for inner in node.blocks():
                visit(inner)

    graph = module._c._get_method(method).graph.copy()
    torch._C._jit_pass_inline(graph)
    visit(graph)
    return [f"{kind} ({line})" for kind, line in found.items()]


# -------------------------------------------------------------------------------------------------- prim:: operators

Special = Callable[[Program, Any, list[Any], Env], Any]
_SPECIAL: dict[str, Special] = {}


def _prim(*kinds: str) -> Callable[[Special], Special]:
    def register(function: Special) -> Special:
        for kind in kinds:
            _SPECIAL[kind] = function
        return function

    return register


@_prim("prim::Constant")
def _constant(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    return _wrapped(node.output().toIValue()) if node.hasAttributes() else None


@_prim("prim::CreateObject")
def _object(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    return Object(p.net)


@_prim("prim::GetAttr")
def _get_attribute(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    if isinstance(args[0], Object):
        return args[0].attributes[node.s("name")]
    return p.get_attribute(_module(node, args[0]), node.s("name"))


@_prim("prim::SetAttr")
def _set_attribute(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    if isinstance(args[0], Object):
        args[0].set(node.s("name"), args[1], p.net)
        return ()
    p.set_attribute(_module(node, args[0]), node.s("name"), args[1])
    return ()


def _module(node: Any, found: Any) -> Module:
    if not isinstance(found, Module):
        raise UnsupportedOperatorError(f"an object of the class {next(node.inputs()).type()} is not supported")
    return found


@_prim(CALL_METHOD)
def _call_method(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    return p._method(_module(node, args[0]), node.s("name"), args[1:])


@_prim("prim::If")
def _if(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    return _unpacked(node, run_if(p, args[0], [partial(p.block, block, env) for block in node.blocks()]))


@_prim("prim::Loop")
def _loop(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    (body,) = node.blocks()
    names = _ids(body.inputs())

    def turn(values: Sequence[Any]) -> list[Any]:
        return p.block(body, env | dict(zip(names, values, strict=True)))

    return _unpacked(node, run_loop(p, args[0], args[1], args[2:], turn, _MAX_TURNS))


def _unpacked(node: Any, results: list[Any]) -> Any:
    """The only result itself, as for any node."""
    return results[0] if node.outputsSize() == 1 else results


@_prim("prim::ListConstruct")
def _list(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    made = Items(args)
    if p.bodies:
        p.bodies[-1].made.append(made)
    return made


@_prim("prim::TupleConstruct")
def _tuple(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    return tuple(args)


@_prim("prim::DictConstruct")
def _dict(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    return dict(zip(args[::2], args[1::2], strict=True))


@_prim("prim::TupleUnpack", "prim::ListUnpack")
def _unpack(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    if isinstance(args[0], Tensor):
        raise UnsupportedOperatorError("a list that only the run tells cannot be taken apart")
    return _unpacked(node, list(args[0]))


@_prim("prim::TupleIndex")
def _tuple_index(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    return args[0][args[1]]


@_prim("prim::RaiseException")
def _raise(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    raise Raised(str(args[0]) if args else "", source_line(node))


@_prim("prim::Uninitialized")
def _uninitialized(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    return None


@_prim("prim::unchecked_cast", "prim::unchecked_unwrap_optional", "aten::_unwrap_optional", "prim::Print")
def _same(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    return args[0] if node.outputsSize() == 1 else ()


@_prim("prim::isinstance")
def _isinstance(p: Program, node: Any, args: list[Any], env: Env) -> Any:
    raise UnsupportedOperatorError("isinstance on a value of several possible types")


__all__ = ["CALL_METHOD", "Module", "Program", "method_graph", "missing_operators", "source_line"]
