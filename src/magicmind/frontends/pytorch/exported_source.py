"""An exported program (`torch.export`, files `.pt2`) as a source.

Sizes that the export fixed stay fixed; those it left dynamic are symbols with the ranges of the export.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.utils._pytree import tree_unflatten

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.frontends.pytorch.converter import Converter, Missing
from magicmind.frontends.pytorch.dtypes import onnx_dtype
from magicmind.frontends.pytorch.exported import Walk, missing_operators
from magicmind.frontends.pytorch.script_source import named_leaves
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ir.dims import Dim, symbol
from magicmind.ir.shape_spec import Range, sanitise
from magicmind.ir.types import TensorType
from magicmind.source import CHANNELS_FIRST

_BUFFERS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def range_of(limits: Any) -> Range:
    """What PyTorch knows of a dynamic size; it has a number of its own for no limit."""
    return max(int(limits.lower), 1), int(limits.upper) if limits.upper.is_Integer else None


class ExportedSource:
    """The program's graph, with its weights in place."""

    layout = CHANNELS_FIRST

    def __init__(self, program: ExportedProgram) -> None:
        self._program = program
        self._symbols: dict[str, str] = {}  # the export's name of a dynamic size -> ours
        self._inputs: dict[str, TensorType] = {}
        nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
        for spec in program.graph_signature.input_specs:
            if spec.kind == InputKind.USER_INPUT and isinstance(
                found := nodes[spec.arg.name].meta["val"], torch.Tensor
            ):
                shape = tuple(self._dim(spec.arg.name, i, d) for i, d in enumerate(found.shape))
                self._inputs[spec.arg.name] = TensorType(onnx_dtype(found.dtype), shape)

    def _dim(self, name: str, axis: int, size: Any) -> Dim:
        if isinstance(size, int):
            return size
        text = str(size)
        if text not in self._symbols:
            if text.isdecimal():  # the export found that it has to be this number
                return int(text)
            if not text.isidentifier():
                raise UnsupportedOperatorError(f"input {name!r} has the size {text}, no dynamic dimension of its own")
            self._symbols[text] = sanitise(f"{name}_d{axis}")
        return symbol(self._symbols[text])

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """The tensors that the program takes."""
        return self._inputs

    @property
    def ranges(self) -> Mapping[str, Range]:
        """The ranges of dynamic sizes, as the export found or was told them."""
        found = {}
        for name, limits in self._program.range_constraints.items():
            if str(name) in self._symbols:
                found[self._symbols[str(name)]] = range_of(limits)
        return found

    @property
    def outputs(self) -> Sequence[str]:
        """`output`, or `output_0`, `output_1`, ...; of a dict its keys."""
        kinds = [s.arg for s in self._program.graph_signature.output_specs if s.kind == OutputKind.USER_OUTPUT]
        return list(self._named([a if isinstance(a, TensorArgument) else None for a in kinds]))

    def _named(self, results: Sequence[Any]) -> dict[str, Any]:
        """Results by the names of outputs; the program gives them in a row."""
        return named_leaves(tree_unflatten(list(results), self._program.call_spec.out_spec))

    def convert(self, inputs: Mapping[str, TensorType], ranges: Mapping[str, Range]) -> onnx_ir.Model:
        """Walks the graph once; twice for a program that writes to its buffers, which are state then."""
        self._check_fixed(inputs)
        kept: set[str] = set(self._program.graph_signature.buffers_to_mutate.values())
        while True:
            net = Network("exported", ranges)
            converter = Converter(net)
            fed = {name: Tensor(net.input(name, t)) for name, t in inputs.items()}
            buffers = {s.target: self._buffer(net, s.target, kept) for s in self._specs if s.kind in _BUFFERS}
            before = {name: buffer.payload for name, buffer in buffers.items()}
            results = self._walked(converter, fed, buffers)
            written = {name for name, buffer in buffers.items() if buffer.payload is not before[name]} - kept
            if not written:
                break
            kept |= written
        pairs = list(zip(self._program.graph_signature.output_specs, results, strict=True))
        returned = [r for s, r in pairs if s.kind == OutputKind.USER_OUTPUT]
        named = self._named([r if isinstance(r, Tensor) else None for r in returned])
        state = {name: buffers[name] for name in sorted(kept)}
        state |= {s.target: r for s, r in pairs if s.kind == OutputKind.BUFFER_MUTATION}
        named |= {f"state.{name}.next": value for name, value in state.items()}
        return net.model({name: converter.value(result) for name, result in named.items()})

    @property
    def _specs(self) -> Sequence[Any]:
        return self._program.graph_signature.input_specs

    def _walked(self, converter: Converter, fed: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> Any:
        """What the graph returns."""
        given = [
            buffers[s.target] if s.kind in _BUFFERS else fed.get(s.arg.name, getattr(s.arg, "value", None))
            for s in self._specs
        ]
        try:
            return Walk(converter).run(self._program.graph_module, given)
        except Missing as error:
            lines = missing_operators(self._program.graph_module) or [str(error)]
            listing = "\n".join(f"  {line}" for line in lines)
            raise UnsupportedOperatorError(f"{len(lines)} operators have no importer:\n{listing}") from error

    def _buffer(self, net: Network, name: str, kept: set[str]) -> Tensor:
        """A weight or buffer: an input where it is state."""
        found = self._tensor(name)
        if name not in kept:
            return Tensor(found)
        return Tensor(net.input(f"state.{name}", TensorType(onnx_dtype(found.dtype), tuple(found.shape))))

    def _tensor(self, name: str) -> torch.Tensor:
        found: torch.Tensor = {**self._program.constants, **self._program.state_dict}[name]
        return found.detach()

    def _check_fixed(self, inputs: Mapping[str, TensorType]) -> None:
        """Raises ShapeError for sizes that the export has fixed, as they are written all over the graph."""
        for name, t in inputs.items():
            for axis, (size, declared) in enumerate(zip(t.dims, self._inputs[name].dims, strict=True)):
                if isinstance(declared, int) and size != declared:
                    raise ShapeError(
                        f"input {name!r}, dimension {axis}: the program was exported for {declared}, not {size}",
                        hint="export it with dynamic_shapes for this dimension",
                    )
