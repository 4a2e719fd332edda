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
from magicmind.frontends.pytorch.arguments import Arguments, arguments_of
from magicmind.frontends.pytorch.converter import Missing
from magicmind.frontends.pytorch.listing import Listing, calls_of
from magicmind.frontends.pytorch.torchscript import Program, missing_operators
from magicmind.frontends.pytorch.values import Tensor, map_leaves
from magicmind.ir.shape_spec import Range
from magicmind.ir.types import TensorType
from magicmind.ops.shapes import MustEqual
from magicmind.source import CHANNELS_FIRST

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
        known = [a.name for a in arguments_of(module)]
        unknown = [name for name in constants or {} if name not in known]
        if unknown:
            raise ModelFormatError(
                f"forward has no argument {unknown[0]!r}", hint=f"its arguments are: {', '.join(known)}"
            )
        self._arguments = Arguments(module, dtypes or {}, constants or {})
        unknown = [name for name in dtypes or {} if name not in self._arguments.inputs]
        if unknown:
            raise ModelFormatError(
                f"there is no input {unknown[0]!r}", hint=f"the inputs are: {', '.join(self._arguments.inputs)}"
            )

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """The tensors and numbers that `forward` takes; TorchScript does not say their shapes."""
        return self._arguments.inputs

    @property
    def outputs(self) -> Sequence[str]:
        """Unknown before conversion."""
        return ()

    def calls(self) -> Listing:
        """The operators of the program in its order, as far as they are known without shapes."""
        return calls_of(self._module, self._arguments)

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
        made = {name: map_leaves(lambda n: given[n], parts) for name, parts in self._arguments.names.items()}
        args = [{**made, **self._arguments.fixed}[name] for name in self._arguments.order]
        try:
            result = program.run(self._module, "forward", args)
        except Missing as error:
            lines = missing_operators(self._module, "forward")
            if not any(line.startswith(str(error).partition(" ")[0]) for line in lines):
                lines = [str(error).replace(" has no importer", "", 1), *lines]
            listing = "\n".join(f"  {line}" for line in lines)
            raise UnsupportedOperatorError(f"{len(lines)} operators have no importer:\n{listing}") from error
        except MustEqual:
            raise  # the inputs' symbols may become one
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
