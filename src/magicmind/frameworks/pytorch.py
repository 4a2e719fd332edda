"""PyTorch programs by PyTorch itself: what every module returns, or every node of an exported graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.fx import Interpreter, Node

from magicmind.errors import Error
from magicmind.frameworks import Array
from magicmind.frontends.network import Network
from magicmind.frontends.pytorch.arguments import arguments_of
from magicmind.frontends.pytorch.reader import load_program
from magicmind.frontends.pytorch.script_source import named_leaves
from magicmind.frontends.pytorch.torchscript import Module, Program
from magicmind.frontends.pytorch.values import Tensor


def evaluate(path: Path, options: Mapping[str, Any], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Results by the path of the module that returned them (TorchScript) or by node (exported), and the outputs."""
    program = load_program(path)
    given = {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}
    if isinstance(program, ExportedProgram):
        return _exported(program, given)
    return _script(program, given | dict(options.get("constants") or {}))


class _Recorder(Program):
    """Runs a program on constants, so that torch computes every operator, and keeps what modules return."""

    def __init__(self) -> None:
        super().__init__(Network())
        self.seen: dict[str, Array] = {}

    def returned(self, module: Module, result: Any) -> None:
        if isinstance(result, Tensor) and result.constant is not None:
            self.seen[module.path] = result.constant.numpy()


def _script(module: torch.jit.ScriptModule, given: Mapping[str, Any]) -> dict[str, Array]:
    recorder = _Recorder()
    args = []
    for argument in arguments_of(module):
        value = given.get(argument.name, argument.default_value)
        is_number = isinstance(value, torch.Tensor) and str(argument.type) in ("int", "float", "bool")
        args.append(value.item() if is_number else Tensor(value) if isinstance(value, torch.Tensor) else value)
    result = recorder.run(module, "forward", args)
    outputs = {name: t.constant.numpy() for name, t in named_leaves(result).items() if t.constant is not None}
    return recorder.seen | outputs


class _Nodes(Interpreter):
    """Keeps what every node gives."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, Array] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.seen[n.name] = result.detach().numpy()
        return result


def _exported(program: ExportedProgram, given: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    module = program.module()
    if not isinstance(module, torch.fx.GraphModule):
        raise Error("the exported program gives no graph to run")
    nodes = _Nodes(module)
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.arg.name in given]
    with torch.no_grad():
        nodes.run(*(given[name] for name in names))
    return nodes.seen
