"""Random ONNX graphs of up to 30 operators: odd sizes (0, 1, primes), broadcasting, mutable dims, several dtypes.

What is drawn comes through `Choices`, so a seed or hypothesis may decide. Dims are numbers or texts: the name of a
symbol, or of a size that follows from one; equal texts are equal sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper

T = TypeVar("T")
Dim = int | str
Array = np.ndarray[Any, Any]

SIZES = (1, 1, 2, 3, 4, 5, 7, 13, 16, 17, 31)
SYMBOLS = ("N", "M")
MAX_ELEMENTS = 20_000
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
INT32, DOUBLE = TensorProto.INT32, TensorProto.DOUBLE
NUMBERS = (FLOAT, INT, INT32, DOUBLE)
INPUT_TYPES = (FLOAT,) * 9 + (INT, INT32, DOUBLE)


class Choices(Protocol):
    """Where decisions come from."""

    def pick(self, options: Sequence[T]) -> T: ...


class Seeded:
    """Decisions by a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._rng.integers(len(options)))]


@dataclass(frozen=True)
class Value:
    """A tensor of the graph. `exact`: no rounding before it, so steps and comparisons of it are reproducible."""

    name: str
    dims: tuple[Dim, ...]
    dtype: int = FLOAT
    exact: bool = False


@dataclass
class RandomGraph:
    """A graph under construction; `values` are all tensors so far, `sizes` what symbols stand for in each run."""

    choices: Choices
    sizes: tuple[dict[str, int], ...]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    count: int = 0

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def constant(self, array: Array) -> str:
        name = self.fresh("c")
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def scalar(self, number: float) -> str:
        return self.constant(np.array(number, np.float32))

    def weights(self, *shape: int, scale: float = 1.0) -> str:
        rng = np.random.default_rng(self.count)
        return self.constant((rng.uniform(-scale, scale, shape)).astype(np.float32))

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        dims: Sequence[Dim],
        dtype: int = FLOAT,
        exact: bool = False,
        **attributes: Any,
    ) -> Value:
        """A node with one output."""
        return self.add_many(op, inputs, [dims], dtype, exact, **attributes)[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[Sequence[Dim]],
        dtype: int | Sequence[int] = FLOAT,
        exact: bool = False,
        **attributes: Any,
    ) -> list[Value]:
        """A node with several outputs; `dtype` of all or of each."""
        dtypes = [dtype] * len(outputs) if isinstance(dtype, int) else dtype
        made = [Value(self.fresh(op.lower()), tuple(d), t, exact) for d, t in zip(outputs, dtypes, strict=True)]
        self.nodes.append(
            helper.make_node(op, list(inputs), [v.name for v in made], f"node_{made[0].name}", **attributes)
        )
        self.values += made
        return made

    def extent(self, dim: Dim) -> int:
        """A dim's size in the first run; a size that follows from a symbol counts as 20."""
        return dim if isinstance(dim, int) else self.sizes[0].get(dim, 20)

    def elements(self, dims: Sequence[Dim]) -> int:
        return int(np.prod([self.extent(d) for d in dims]))

    def some(self, *dtypes: int, ranks: Sequence[int] = range(6), exact: bool = False) -> Value | None:
        """A value of these properties, the newest most likely."""
        fit = [
            v
            for v in self.values
            if v.dtype in (dtypes or (FLOAT,)) and len(v.dims) in ranks and (v.exact or not exact)
        ]
        return self.choices.pick([*fit, *fit[-3:], *fit[-1:]]) if fit else None

    def model(self) -> onnx.ModelProto:
        """The model; what nobody reads is an output."""
        read = {name for node in self.nodes for name in [*node.input, *_captured(node)]}
        outputs = [v for v in self.values if v.name not in read and v not in self.inputs] or self.values[-1:]
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info(v.name, v.dtype, v.dims) for v in self.inputs],
            [helper.make_tensor_value_info(v.name, v.dtype, [None] * len(v.dims)) for v in outputs],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)

    def feeds(self, run: int, seed: int = 0) -> dict[str, Array]:
        """Inputs for one of the runs: multiples of 1/8, so that steps do not fall between two roundings."""
        rng = np.random.default_rng([seed, run])
        found = {}
        for value in self.inputs:
            shape = [d if isinstance(d, int) else self.sizes[run][d] for d in value.dims]
            numbers = rng.integers(-16, 17, shape)
            scaled = numbers if value.dtype in (INT, INT32) else numbers / 8
            found[value.name] = scaled.astype(helper.tensor_dtype_to_np_dtype(value.dtype))
        return found


def _captured(node: onnx.NodeProto) -> list[str]:
    """What the bodies of a node read."""
    return [name for a in node.attribute for inner in a.g.node for name in inner.input]


def random_graph(choices: Choices, most: int = 30) -> RandomGraph:
    """One to three inputs and 1 to `most` operators. With mutable dims there are two runs of different sizes."""
    from magicmind.testing.random_operators import OPERATORS

    sizes = tuple({s: choices.pick((1, 2, 3, 5, 7, 11)) for s in SYMBOLS} for _ in range(2))
    graph = RandomGraph(choices, sizes)
    for _ in range(choices.pick((1, 1, 2, 3))):
        value = Value(graph.fresh("x"), _input_dims(choices), choices.pick(INPUT_TYPES), exact=True)
        graph.inputs.append(value)
        graph.values.append(value)
    wanted = choices.pick(range(1, most + 1))
    for _ in range(4 * wanted):
        before = graph.count, len(graph.nodes), len(graph.constants), len(graph.values)
        choices.pick(OPERATORS)(graph)
        if any(graph.elements(v.dims) > MAX_ELEMENTS for v in graph.values[before[3] :]):
            graph.count, nodes, constants, values = before
            del graph.nodes[nodes:], graph.constants[constants:], graph.values[values:]
        if len(graph.nodes) >= wanted:
            break
    if not graph.nodes:
        graph.add("Identity", [graph.values[0].name], graph.values[0].dims, graph.values[0].dtype)
    return graph


def _input_dims(choices: Choices) -> tuple[Dim, ...]:
    rank = choices.pick((0, 1, 2, 2, 3, 3, 4, 4, 4, 5))
    dims: list[Dim] = [choices.pick(SIZES) for _ in range(rank)]
    for i in range(rank):
        kind = choices.pick(("fixed",) * 12 + ("zero",) + ("symbol",) * 4)
        if kind == "zero" and choices.pick((True, False)):
            dims[i] = 0
        elif kind == "symbol":
            dims[i] = choices.pick(SYMBOLS)
    return tuple(dims)
