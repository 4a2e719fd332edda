"""`torch.compile(model, backend="magicmind")`: what dynamo captures becomes a network of native code.

Inference only: with gradients the captured code runs as it is, and a warning says so. Weights are constants of the
built network; when they change (`load_state_dict`, another instance of the class) it is built again. Sizes that PyTorch
holds to be dynamic are mutable dimensions, so that no other batch size builds anything. An operator that cannot be
built is an error which names it.

    model = torch.compile(model.eval(), backend="magicmind", dynamic=True, options={"threads": 2})
    with torch.no_grad():
        y = model(x)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir
import torch
from torch._dynamo.backends.common import aot_autograd
from torch.fx import GraphModule, Node

import magicmind.frontends.pytorch  # noqa: F401  (fills the table of importers)
from magicmind.compiler import build
from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.frontends.pytorch.converter import Converter, Missing, to_numpy
from magicmind.frontends.pytorch.dtypes import onnx_dtype
from magicmind.frontends.pytorch.exported import Walk, missing_operators
from magicmind.frontends.pytorch.exported_source import range_of
from magicmind.frontends.pytorch.values import Tensor
from magicmind.graph import SourceGraph
from magicmind.ir.dims import Dim, parse
from magicmind.ir.shape_spec import Range
from magicmind.ir.types import TensorType
from magicmind.runtime import Session
from magicmind.source import CHANNELS_FIRST

Array = np.ndarray[Any, Any]
Run = Callable[..., Sequence[Any]]

_OPTIONS = ("threads", "precision")


def magicmind_backend(
    module: GraphModule, examples: Sequence[Any], *, options: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """The backend. options: `threads` of a call, `precision` as of `magicmind.build`.

    Raises UnsupportedOperatorError naming all operators that cannot be built (dynamo shows it as the backend's).
    """
    given = dict(options or {})
    unknown = [name for name in given if name not in _OPTIONS]
    if unknown:
        raise ValueError(f"backend 'magicmind' has no option {unknown[0]!r}; it has {', '.join(_OPTIONS)}")
    if torch.is_grad_enabled() and any(isinstance(x, torch.Tensor) and x.requires_grad for x in examples):
        warnings.warn(
            "magicmind compiles inference only, and gradients are wanted here: this runs uncompiled. "
            "Call the model under torch.no_grad() or torch.inference_mode()",
            stacklevel=2,
        )
        return module.forward

    def compile_(graph: GraphModule, inputs: Sequence[Any]) -> Run:
        return _boxed(Compiled(graph, _weights(), given))

    compiled: Callable[..., Any] = aot_autograd(fw_compiler=compile_)(module, list(examples))
    return compiled


def _weights() -> frozenset[int]:
    """Which inputs of the graph being compiled are the module's own tensors."""
    context = torch._guards.TracingContext.try_get()
    found = None if context is None or context.fw_metadata is None else context.fw_metadata.static_input_indices
    return frozenset(found or ())


def _boxed(compiled: Compiled) -> Run:
    """What aot_autograd wants: a function that takes its arguments as one list, and empties it."""

    def run(arguments: list[Any]) -> Sequence[Any]:
        given = list(arguments)
        arguments.clear()
        return compiled(given)

    run._boxed_call = True  # type: ignore[attr-defined]
    return run


class Compiled:
    """A graph of ATen operators, built for the weights of its latest call."""

    builds = 0
    """How many networks this process has built for torch.compile."""

    def __init__(self, graph: GraphModule, fixed: frozenset[int], options: Mapping[str, Any]) -> None:
        self._graph = graph
        self._fixed = fixed
        self._options = options
        self._built_for: list[tuple[int, int]] | None = None
        self._session: Session | None = None
        self._source: _Source | None = None

    def __call__(self, arguments: Sequence[Any]) -> list[Any]:
        """Results in the graph's order; tensors share memory with the arrays of the run."""
        state = [(x.data_ptr(), x._version) for i, x in enumerate(arguments) if i in self._fixed]
        if self._session is None or state != self._built_for:
            self._build(arguments)
            self._built_for = state
        assert self._session is not None and self._source is not None
        feeds = {name: _array(arguments[i]) for i, name in self._source.fed.items()}
        found = self._session.run(feeds)
        return [_result(r, found) for r in self._source.results]

    def _build(self, arguments: Sequence[Any]) -> None:
        weights = {i: arguments[i].detach() for i in self._fixed}
        self._source = _Source(self._graph, weights)
        graph = SourceGraph.of(self._source, None, self._source.ranges)
        model = build(graph, **{k: v for k, v in self._options.items() if k == "precision"})
        self._session = model.session(threads=self._options.get("threads"))
        Compiled.builds += 1


class _Source:
    """The graph as a source. `fed`: inputs by position, `results`: names of outputs, numbers and None as they are."""

    layout = CHANNELS_FIRST

    def __init__(self, graph: GraphModule, weights: Mapping[int, torch.Tensor]) -> None:
        self._graph = graph
        self._weights = weights
        self._nodes = [n for n in graph.graph.nodes if n.op == "placeholder"]
        self._inputs: dict[str, TensorType] = {}
        self._sizes: dict[int, Dim] = {}
        self.fed: dict[int, str] = {}
        self.ranges: dict[str, Range] = {}
        self.results: list[Any] = []
        for i, node in enumerate(self._nodes):
            if isinstance(node.meta["val"], torch.Tensor) and i not in weights:
                found = node.meta["val"]
                shape = tuple(self._dim(d) for d in found.shape)
                self._feed(i, node, TensorType(onnx_dtype(found.dtype), shape))
        for i, node in enumerate(self._nodes):
            if not isinstance(node.meta["val"], torch.Tensor):
                self._number(i, node)

    def _feed(self, at: int, node: Node, t: TensorType) -> None:
        self.fed[at] = node.name
        self._inputs[node.name] = t

    def _number(self, at: int, node: Node) -> None:
        """A number: the size of a tensor, or an input of its own."""
        if isinstance(node.meta["val"], torch.SymInt) and str(node.meta["val"]) in self.ranges:
            self._sizes[at] = parse(str(node.meta["val"]))
        else:
            kind = onnx_ir.DataType.FLOAT if isinstance(node.meta["val"], torch.SymFloat) else onnx_ir.DataType.INT64
            self._feed(at, node, TensorType(kind, ()))

    def _dim(self, size: Any) -> Dim:
        if isinstance(size, int):
            return size
        name = str(size)
        if not name.isidentifier():
            raise UnsupportedOperatorError(f"an input has the computed size {name}; mark that dimension as static")
        self.ranges[name] = range_of(size.node.shape_env.var_to_range[size.node.expr])
        return parse(name)

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """The tensors and numbers that vary from call to call."""
        return self._inputs

    @property
    def outputs(self) -> Sequence[str]:
        """Known once converted."""
        return ()

    def convert(self, inputs: Mapping[str, TensorType], ranges: Mapping[str, Range]) -> onnx_ir.Model:
        """Walks the graph once."""
        net = Network("compiled", ranges)
        converter = Converter(net)
        given = {name: Tensor(net.input(name, t)) for name, t in inputs.items()}
        arguments = [self._argument(i, given) for i in range(len(self._nodes))]
        try:
            found = Walk(converter).run(self._graph, arguments)
        except Missing as error:
            lines = missing_operators(self._graph) or [str(error)]
            listing = "\n".join(f"  {line}" for line in lines)
            raise UnsupportedOperatorError(f"{len(lines)} operators have no importer:\n{listing}") from error
        outputs = {f"output_{i}": r for i, r in enumerate(found) if r is not None and not isinstance(r, int)}
        self.results = [f"output_{i}" if f"output_{i}" in outputs else r for i, r in enumerate(found)]
        return net.model({name: converter.value(r) for name, r in outputs.items()})

    def _argument(self, at: int, given: Mapping[str, Tensor]) -> Any:
        if at in self._weights:
            return Tensor(self._weights[at])
        return self._sizes[at] if at in self._sizes else given[self.fed[at]]


def _array(x: Any) -> Array:
    """An argument without a copy, where its elements lie in order."""
    if isinstance(x, torch.Tensor):
        return to_numpy(x.contiguous())
    return np.array(x, np.float32 if isinstance(x, float) else np.int64)


def _result(name: Any, found: Mapping[str, Array]) -> Any:
    if not isinstance(name, str):
        return name
    array = found[name]
    if array.dtype == onnx_ir.DataType.BFLOAT16.numpy():
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
