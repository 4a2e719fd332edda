"""Accuracy as a goal: layers that hurt stay out of the integers until the outputs are as close as asked.

Each product's contribution is what the outputs lose when it alone is on integers. Layers are given up worst first; how
many are needed is found by bisection, so a network of fifty layers is built about eight times.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir
from onnx_ir import DataType

from magicmind.errors import PrecisionError
from magicmind.graph import Graph
from magicmind.ir import dims
from magicmind.ir.attributes import attribute
from magicmind.ir.types import TensorType, ranges_of, set_type, type_of
from magicmind.passes.edit import graph_of
from magicmind.quant.kinds import activations, factors, is_product, weight_of
from magicmind.quant.observe import Build
from magicmind.quant.place import Placing, insert_pair, quantise_weights_of
from magicmind.quant.places import root_of
from magicmind.quant.precision import PrecisionPlan
from magicmind.quant.samples import Sample
from magicmind.quant.scales import TensorScale
from magicmind.quant.table import Scales
from magicmind.runtime.model import Model

Array = np.ndarray[Any, np.dtype[Any]]
Outputs: TypeAlias = Mapping[str, Array]
Metric: TypeAlias = Callable[[Sequence[Outputs], Sequence[Outputs]], float]
"""(outputs of every sample, the same in float32) -> a number; more is better."""

SAMPLES = 16


def cosine(outputs: Sequence[Outputs], wanted: Sequence[Outputs]) -> float:
    """The cosine between an output and float32's over all samples; of several outputs the least."""
    return min(_cosine(a, b) for a, b in _pairs(outputs, wanted))


def sqnr(outputs: Sequence[Outputs], wanted: Sequence[Outputs]) -> float:
    """Signal to quantisation noise in dB, 10 log10 of |wanted|^2 / |difference|^2; of several outputs the least."""
    return min(decibels(float(b @ b), float((a - b) @ (a - b))) for a, b in _pairs(outputs, wanted))


METRICS: dict[str, Metric] = {"cosine": cosine, "sqnr": sqnr}


@dataclass(frozen=True)
class AccuracyTarget:
    """What the outputs have to reach. `metric`: sqnr (dB), cosine, or a function; more is better.

    Measured on the first `samples` of the calibration data.
    """

    value: float
    metric: str | Metric = "sqnr"
    samples: int = SAMPLES

    def __post_init__(self) -> None:
        if isinstance(self.metric, str) and self.metric not in METRICS:
            hint = f"{', '.join(METRICS)}, or a function of outputs and references"
            raise PrecisionError(f"there is no accuracy metric {self.metric!r}", hint=hint)
        if not (isinstance(self.metric, str) or callable(self.metric)) or not isinstance(self.value, numbers.Real):
            hint = 'AccuracyTarget(25, "sqnr"): a number, then the metric\'s name or a function'
            raise PrecisionError(f"accuracy target {self.value!r:.40} of metric {self.metric!r:.40}", hint=hint)
        if not math.isfinite(self.value) or self.samples < 1:
            raise PrecisionError(f"accuracy target {self.value} on {self.samples} samples", hint="numbers above zero")

    @property
    def name(self) -> str:
        return self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "metric")

    def measure(self, outputs: Sequence[Outputs], wanted: Sequence[Outputs]) -> float:
        metric = METRICS[self.metric] if isinstance(self.metric, str) else self.metric
        found: Any = metric(outputs, wanted)
        try:
            number = float(found)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise PrecisionError(f"the metric {self.name!r} gives {found!r:.60}", hint="one number; more is better")
        return number


def parse_target(text: str) -> AccuracyTarget:
    """`sqnr=25` or `cosine=0.999`. Raises PrecisionError."""
    name, _, number = text.partition("=")
    try:
        return AccuracyTarget(float(number), name)
    except ValueError as error:
        raise PrecisionError(f"{text!r} is no accuracy target", hint="sqnr=25 (dB) or cosine=0.999") from error


def _floats(wanted: Sequence[Outputs]) -> list[str]:
    """The outputs that are numbers to come close to; whole numbers where there are no others."""
    names = list(wanted[0])
    return [name for name in names if wanted[0][name].dtype.kind == "f"] or names


def _pairs(outputs: Sequence[Outputs], wanted: Sequence[Outputs]) -> Iterator[tuple[Array, Array]]:
    """Of every output the values of all samples, and those wanted."""
    for name in _floats(wanted):
        a, b = (np.concatenate([s[name].astype(np.float64).ravel() for s in side]) for side in (outputs, wanted))
        yield a, b


def _cosine(a: Array, b: Array) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else float(np.array_equal(a, b))


def decibels(signal: float, noise: float) -> float:
    """10 log10 of signal / noise; infinite without noise."""
    if noise == 0.0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


# ----------------------------------------------------------------------------------------------------- contributions


def contributions(
    model: onnx_ir.Model,
    plan: PrecisionPlan,
    scales: Scales,
    how: Placing,
    samples: Sequence[Sample],
    measure: Callable[[Sequence[Outputs]], float],
    build: Build,
) -> dict[str, float]:
    """What `measure` gives for the outputs with one integer product alone, by node name, worst first.

    One build for all: beside each product stands a twin on integers, and a gate, a further input, chooses:
    y + gate * (twin - y).
    """
    copy = model.clone()
    products = [node for node in copy.graph if plan.bits(node)]
    gates = {node.name or "": _add_gate(node, plan.bits(node), scales, how) for node in products}
    closed = {gate: np.zeros((), np.float32) for gate in gates.values()}
    found = {}
    with build(Graph(copy)) as built, built.session() as session:
        for name, gate in gates.items():
            open_ = {**closed, gate: np.ones((), np.float32)}
            found[name] = measure([session.run({**sample, **open_}) for sample in samples])
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _add_gate(node: onnx_ir.Node, bits: int, scales: Scales, how: Placing) -> str:
    """Puts the twin beside a product; the name of the input that chooses it."""
    graph, result, type_ = graph_of(node), node.outputs[0], type_of(node.outputs[0])
    assert type_ is not None
    twin = onnx_ir.Node("", node.op_type, list(node.inputs), list(node.attributes.values()), name=f"{node.name}.twin")
    set_type(twin.outputs[0], type_)
    gate = onnx_ir.Value(name=f"{node.name}.gate", shape=onnx_ir.Shape(()), type=onnx_ir.TensorType(DataType.FLOAT))
    graph.inputs.append(gate)
    last = node
    chain = [twin]
    for op_type, inputs in (("Sub", [twin.outputs[0], result]), ("Mul", [gate]), ("Add", [result])):
        before = chain[-1].outputs if op_type != "Sub" else []
        chain.append(onnx_ir.Node("", op_type, [*before, *inputs], name=f"{node.name}.{op_type.lower()}"))
        set_type(chain[-1].outputs[0], type_)
    chosen = chain[-1].outputs[0]
    name, result.name = result.name, f"{result.name}.exact"
    result.replace_all_uses_with(chosen, replace_graph_outputs=True)
    chosen.name = name
    for inner in chain[1:]:  # these read the exact result
        for i, value in enumerate(inner.inputs):
            if value is chosen:
                inner.replace_input_with(i, result)
    for new in chain:
        graph.insert_after(last, new)
        last = new
    _quantise_twin(twin, bits, scales, how)
    return gate.name or ""


def _quantise_twin(twin: onnx_ir.Node, bits: int, scales: Scales, how: Placing) -> None:
    def scale_of(value: onnx_ir.Value) -> TensorScale:
        return scales.of(root_of(value).name or "", bits, how.symmetric)

    read = activations(twin)
    if weight_of(twin) is not None:
        quantise_weights_of(twin, scale_of, scales, bits, how)
    for value in dict.fromkeys(read):
        users = [(node, i) for node, i in value.uses() if node is twin]
        insert_pair(graph_of(twin), value, scale_of(value), users, label=twin.name or "")


# ------------------------------------------------------------------------------------------------------------- search


@dataclass(frozen=True)
class Reached:
    """What a search found. `kept`: the layers in higher precision; `full`: the metric without them."""

    kept: tuple[str, ...]
    value: float
    full: float


def reach(target: AccuracyTarget, worst_first: Sequence[str], measure: Callable[[Sequence[str]], float]) -> Reached:
    """The fewest of the worst layers to keep. `measure`: the metric with these layers kept.

    Raises PrecisionError when not even all of them are enough.
    """
    full = measure(())
    if full >= target.value:
        return Reached((), full, full)
    value = measure(worst_first)
    if value < target.value:
        raise PrecisionError(
            f"{target.name} reaches {value:.6g} at best, not {target.value:.6g}: the rest is not due to the integers",
            hint="ask for less, or look at the metric",
        )
    low, high = 0, len(worst_first)  # `low` layers are too few, `high` are enough
    while high - low > 1:
        middle = (low + high) // 2
        found = measure(worst_first[:middle])
        if found >= target.value:
            high, value = middle, found
        else:
            low = middle
    return Reached(tuple(worst_first[:high]), value, full)


def outputs_of(model: Model, samples: Sequence[Sample]) -> list[Outputs]:
    """The outputs of every sample; closes the model."""
    with model, model.session() as session:
        return [session.run(sample) for sample in samples]


def flops_of(model: onnx_ir.Model) -> dict[str, int]:
    """Multiplications and additions of every product, by node name; mutable dims at their smallest."""
    sizes = {name: low for name, (low, _) in ranges_of(model).items()}
    found = {}
    for node in model.graph:
        if not is_product(node) or not activations(node):
            continue
        output, second = type_of(node.outputs[0]), type_of(factors(node)[1])
        assert output is not None and second is not None
        if not dims.symbols_of(dims.product([*output.dims, *second.dims])) <= sizes.keys():
            continue
        inner = _terms(node, second)
        found[node.name or ""] = 2 * dims.evaluate(output.size, sizes) * dims.evaluate(inner, sizes)
    return found


def _terms(node: onnx_ir.Node, second: TensorType) -> dims.Dim:
    """How many products make one output."""
    if node.op_type == "Conv":
        return dims.product(second.dims[1:])
    if node.op_type == "ConvTranspose":
        return dims.product([second.dims[0], *second.dims[2:]])  # an upper bound: strides leave some out
    transposed = node.op_type == "Gemm" and attribute(node, "transB", 0)
    return second.dims[-1 if transposed or second.rank == 1 else -2]
