"""A TorchScript file as a source: its inputs, and its conversion for given shapes.

A module may keep state in attributes. Those that `forward` sets become inputs `state.<path>` and outputs
`state.<path>.next`; numbers among them are fixed at what they are once the module has run, since they steer the
program. So the graph is that of the second and all further calls, and feeding zeros starts over where the module starts
from zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir
import torch

from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.frontends.pytorch.converter import Missing
from magicmind.frontends.pytorch.dtypes import onnx_dtype
from magicmind.frontends.pytorch.torchscript import Program, missing_operators
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ir.shape_spec import Range
from magicmind.ir.types import TensorType
from magicmind.source import CHANNELS_FIRST

_SCALARS = {"int": torch.int64, "float": torch.float32, "bool": torch.bool}
_POSITIONS = {"aten::embedding": 1, "aten::index_select": 2, "aten::gather": 2, "aten::one_hot": 0}
_PASS_ON = {"aten::view", "aten::reshape", "aten::contiguous", "aten::unsqueeze", "aten::slice", "aten::detach"}
_STATE = "state."
_ROUNDS = 4  # until state has the same types before and after a call


class ScriptSource:
    """`forward` of a loaded module. `dtypes` are of its tensors by name, `constants` fix arguments."""

    layout = CHANNELS_FIRST

    def __init__(
        self,
        module: torch.jit.ScriptModule,
        dtypes: Mapping[str, torch.dtype] | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        self._module = module
        self._constants = dict(constants or {})
        arguments = arguments_of(module)
        unknown = [n for n in (*self._constants, *(dtypes or {})) if n not in {a.name for a in arguments}]
        if unknown:
            names = ", ".join(a.name for a in arguments)
            raise ModelFormatError(f"forward has no argument {unknown[0]!r}", hint=f"its arguments are: {names}")
        self._arguments = [a for a in arguments if a.name not in self._constants]
        self._order = [a.name for a in arguments]
        self._inputs = {a.name: _type_of(a, module, dtypes or {}) for a in self._arguments if _is_given(a)}
        self._defaults = {a.name: a.default_value for a in self._arguments if not _is_given(a)}

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """The tensors and numbers that `forward` takes; TorchScript does not say their shapes."""
        return self._inputs

    @property
    def outputs(self) -> Sequence[str]:
        """Unknown before conversion."""
        return ()

    def convert(self, inputs: Mapping[str, TensorType], ranges: Mapping[str, Range]) -> onnx_ir.Model:
        """Runs `forward` until the state it keeps has settled."""
        before: dict[str, Any] = {}
        for _ in range(_ROUNDS):
            net = Network(_name(self._module), ranges)
            state, program, outputs = self._run(net, inputs, before)
            after = {path: _kind(program, program.state[path]) for path in program.assigned}
            if after == before:
                return net.model(outputs | {f"{_STATE}{p}.next": v for p, v in state.items()})
            before = after
        raise UnsupportedOperatorError("the state that forward keeps has another shape after every call")

    def _run(
        self, net: Network, inputs: Mapping[str, TensorType], before: Mapping[str, Any]
    ) -> tuple[dict[str, onnx_ir.Value], Program, dict[str, onnx_ir.Value]]:
        given = {name: Tensor(net.input(name, t)) for name, t in inputs.items()}
        start = {
            path: Tensor(net.input(f"{_STATE}{path}", found)) if isinstance(found, TensorType) else found
            for path, found in before.items()
        }
        program = Program(net, start)
        args = [{**given, **self._constants, **self._defaults}[name] for name in self._order]
        try:
            result = program.run(self._module, "forward", args)
        except Missing as error:
            lines = missing_operators(self._module, "forward") or [str(error)]
            listing = "\n".join(f"  {line}" for line in lines)
            raise UnsupportedOperatorError(f"{len(lines)} operators have no importer:\n{listing}") from error
        except ShapeError as error:
            raise ShapeError(f"{error} {' '.join(getattr(error, '__notes__', ()))}".strip()) from error
        state = {
            path: program.value(program.state[path])
            for path in program.assigned
            if isinstance(program.state[path], Tensor)
        }
        return state, program, named_outputs(program, result)


def named_outputs(program: Any, result: Any) -> dict[str, onnx_ir.Value]:
    """The tensors that a program returns as values of the graph."""
    return {name: program.value(value) for name, value in named_leaves(result).items()}


def named_leaves(result: Any) -> dict[str, Any]:
    """What a program returns by name: `output`, or `output_0`, `output_1`, ...; of a dict its keys."""
    leaves = list(_leaves("", result))
    names = [name or f"output_{i}" if len(leaves) > 1 or name else "output" for i, (name, _) in enumerate(leaves)]
    if not leaves:
        raise UnsupportedOperatorError("the program returns no tensor")
    return {name: value for name, (_, value) in zip(names, leaves, strict=True)}


def _leaves(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(name, item)
    elif value is not None:
        yield name, value


def _kind(program: Program, value: Any) -> Any:
    """What the next call starts from: the type of a tensor, anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return program.net.type(program.value(value))


def _name(module: torch.jit.ScriptModule) -> str:
    return str(module.original_name)


# --------------------------------------------------------------------------------------------------------- arguments


def arguments_of(module: torch.jit.ScriptModule) -> list[Any]:
    """The arguments of forward, without the module itself."""
    return list(module._c._get_method("forward").schema.arguments[1:])


def _is_given(argument: Any) -> bool:
    """Whether users feed an argument; optional ones keep their default."""
    return not argument.has_default_value()


def _type_of(argument: Any, module: torch.jit.ScriptModule, dtypes: Mapping[str, torch.dtype]) -> TensorType:
    kind = str(argument.type)
    if kind in _SCALARS:
        return TensorType(onnx_dtype(_SCALARS[kind]), ())
    if kind not in ("Tensor", "Optional[Tensor]"):
        raise UnsupportedOperatorError(
            f"forward's argument {argument.name!r} is a {kind}; tensors and numbers can be inputs",
            hint=f"fix it, as in constants={{{argument.name!r}: ...}}",
        )
    default = torch.int64 if _holds_positions(module, argument.name) else torch.float32
    return TensorType(onnx_dtype(dtypes.get(argument.name, default)), None)


def _holds_positions(module: torch.jit.ScriptModule, name: str) -> bool:
    """Whether an argument ends up, as it is, where an operator wants positions."""
    graph = module.inlined_graph
    found = [v for v in graph.inputs() if v.debugName().partition(".")[0] == name]
    seen: set[str] = set()
    while found:
        value = found.pop()
        for use in value.uses():
            kind = use.user.kind()
            if _POSITIONS.get(kind) == use.offset:
                return True
            if kind in _PASS_ON and use.offset == 0 and use.user.output().debugName() not in seen:
                seen.add(use.user.output().debugName())
                found.append(use.user.output())
    return False
