"""Where two models stop agreeing: every tensor they share, the first node that differs, the smallest graph that does.

A side is a network run by this compiler, by onnxruntime, by ONNX's reference evaluator or by the framework it was made
with (`source`), or an offline model, of which only the outputs can be seen. Tensors are paired by their names in the
source. To see what lies inside, a model is run once more with those tensors as outputs; that keeps the compiler from
fusing across them, so the outputs of the model as it is are compared too.

A side of ours may be built in another precision (`Side.build`): then only tensors that have a scale are watched, so
that watching does not change what is quantised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx_ir

from magicmind.compiler import build
from magicmind.errors import Error, MissingExtraError
from magicmind.frameworks import evaluate
from magicmind.frontends import parse
from magicmind.graph import Graph
from magicmind.quant.channels import factors_by_value, scale_channels, spread
from magicmind.quant.equalise import equalise
from magicmind.quant.observe import watching
from magicmind.quant.quantise import simplified
from magicmind.quant.table import Scales
from magicmind.runtime.model import load

Array = np.ndarray[Any, np.dtype[Any]]

ENGINES = ("magicmind", "onnxruntime", "onnx", "source")
TOLERANCE = 1e-3
"""Relative L2 from which a tensor counts as different."""


@dataclass(frozen=True)
class Row:
    """How one tensor compares. `problem` says what keeps numbers from being compared (other shape, NaN), else empty.

    `saturated`: the share of elements beyond the range that the tensor's integers reach; None where it has none.
    """

    tensor: str
    node: str
    op: str
    shape: tuple[int, ...]
    max_abs: float
    relative_l2: float
    cosine: float
    problem: str = ""
    saturated: float | None = None

    @property
    def sqnr(self) -> float:
        """Signal to quantisation noise in dB: 20 log10 of |wanted| / |difference|."""
        return float("inf") if self.relative_l2 == 0 else float(-20 * np.log10(self.relative_l2))

    def differs(self, tolerance: float) -> bool:
        return bool(self.problem) or not self.relative_l2 <= tolerance


@dataclass(frozen=True)
class Comparison:
    """All shared tensors in the order of the first model, and its outputs as it is run without being watched."""

    rows: tuple[Row, ...]
    outputs: tuple[Row, ...]
    tolerance: float

    @property
    def first(self) -> Row | None:
        """The first tensor that differs."""
        return next((row for row in self.rows if row.differs(self.tolerance)), None)

    @property
    def worst(self) -> Row | None:
        """The tensor with the largest relative error; one that cannot be compared counts as the worst."""
        return max(self.rows, key=lambda row: (bool(row.problem), row.relative_l2), default=None)

    @property
    def agree(self) -> bool:
        return self.first is None and not any(row.differs(self.tolerance) for row in self.outputs)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; what is not finite becomes null."""
        return {
            "agree": self.agree,
            "tolerance": self.tolerance,
            "first": _json(self.first),
            "worst": _json(self.worst),
            "outputs": [_json(row) for row in self.outputs],
            "tensors": [_json(row) for row in self.rows],
        }


def _json(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    fields = asdict(row) | {"sqnr": row.sqnr}
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in fields.items()}


@dataclass(frozen=True)
class Side:
    """A model and what runs it; `proto` is None for an offline model, which is `path`.

    `options` are those that the source was parsed with; the engine `source` needs them and the path. `build` are
    arguments of `magicmind.build`, among them the precision; `only` are the tensors to watch, None for all.
    """

    engine: str
    proto: onnx.ModelProto | None = None
    path: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    build: Mapping[str, Any] = field(default_factory=dict)
    only: frozenset[str] | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        engine: str = "magicmind",
        options: Mapping[str, Any] | None = None,
        build: Mapping[str, Any] | None = None,
    ) -> Side:
        """From a file. Raises Error for an engine that cannot run it, ModelFormatError for what is no model."""
        if engine not in ENGINES:
            raise Error(f"there is no engine {engine!r}", hint=f"engines: {', '.join(ENGINES)}")
        if path.suffix == ".mm":
            if engine != "magicmind":
                raise Error(f"{path} is an offline model; {engine} cannot run it", hint="give the ONNX file it is from")
            return cls(engine, path=path)
        given = dict(options or {})
        graph = parse(path, **given)  # its errors say what is wrong with a file
        proto = onnx.load(path) if path.suffix == ".onnx" else onnx_ir.to_proto(graph.model)
        return cls(engine, proto, path, given, build or {}, _watchable(graph, build) if build else None)

    def tensors(self) -> list[tuple[str, str, str]]:
        """(tensor, node, operator) of what can be watched, in the order of the file."""
        if self.proto is None:
            return []
        graph = self.proto.graph
        hidden = _not_tensors(self.proto)
        read = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
        return [
            (name, node.name or f"{node.op_type}_{i}", node.op_type)
            for i, node in enumerate(graph.node)
            for name in node.output
            if name in read and name not in hidden and node.op_type != "Constant"
            if self.only is None or name in self.only
        ]

    def run(self, feeds: Mapping[str, Array], watch: Iterable[str] = ()) -> dict[str, Array]:
        """The outputs, and the values of `watch`, by name."""
        if self.proto is None:
            assert self.path is not None
            with load(self.path) as model, model.session() as session:
                return session.run(feeds)
        if self.engine == "source":
            assert self.path is not None
            found = evaluate(self.path, self.options, feeds)
            names = {*watch, *(output.name for output in self.proto.graph.output)}
            return {name: array for name, array in found.items() if name in names}
        scales = self.build.get("scales")
        if isinstance(scales, Scales) and scales.factors:
            return self._run_scaled(feeds, watch, scales)
        watched = _watching(self.proto, watch)
        return _by_magicmind(watched, feeds, self.build) if self.build else RUNNERS[self.engine](watched, feeds)

    def _run_scaled(self, feeds: Mapping[str, Array], watch: Iterable[str], scales: Scales) -> dict[str, Array]:
        """Channels are scaled before tensors become outputs, which keep theirs, and watched ones are scaled back."""
        assert self.proto is not None
        model = simplified(parse(self.proto).model)
        if scales.equalised:
            equalise(model)
        factors = _factors(model.graph, scales)
        scale_channels(model, scales.factors)
        how = {**self.build, "scales": replace(scales, factors={}, equalised=False)}
        with build(watching(Graph(model), watch), **how) as built, built.session() as session:
            found = session.run(feeds)
        return {
            name: (array / spread(factors[name], array.ndim)).astype(array.dtype) if name in factors else array
            for name, array in found.items()
        }


def _factors(graph: onnx_ir.Graph, scales: Scales) -> dict[str, Array]:
    """By tensor, what its channels are multiplied by before they become integers."""
    return {value.name or "": row for value, row in factors_by_value(graph, scales.factors).items() if (row != 1).any()}


def _watchable(graph: Graph, how: Mapping[str, Any]) -> frozenset[str]:
    """The tensors that may be watched without changing what is quantised: those that have a scale, and the outputs;
    of a network in floats all that is left once it is simplified."""
    model = simplified(graph.model)
    outputs = frozenset(output.name or "" for output in model.graph.outputs)
    if isinstance(how.get("scales"), Scales):
        return outputs | frozenset(how["scales"].tensors)
    return outputs | frozenset(output.name or "" for node in model.graph for output in node.outputs)


def _watching(proto: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """The model with these tensors as further outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    there = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    return copy


def _not_tensors(proto: onnx.ModelProto) -> set[str]:
    """Sequences, optional values and strings, as far as onnx's own inference knows."""
    try:
        inferred = onnx.shape_inference.infer_shapes(proto)
    except (onnx.shape_inference.InferenceError, ValueError):  # it is only asked for what is unusual
        return set()
    kinds = {info.name: info.type for info in (*inferred.graph.value_info, *inferred.graph.output)}
    strings = onnx.TensorProto.STRING
    return {n for n, t in kinds.items() if t.WhichOneof("value") != "tensor_type" or t.tensor_type.elem_type == strings}


# --------------------------------------------------------------------------------------------------------- engines


def _by_magicmind(
    proto: onnx.ModelProto, feeds: Mapping[str, Array], how: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Array]:
    with build(parse(proto), **how) as model, model.session() as session:
        return session.run(feeds)


def _by_onnxruntime(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime is not installed", hint="pip install onnxruntime, or use onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def _by_onnx(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(proto)
    return dict(zip(evaluator.output_names, evaluator.run(None, dict(feeds)), strict=True))


RUNNERS = {"magicmind": _by_magicmind, "onnxruntime": _by_onnxruntime, "onnx": _by_onnx}


# ------------------------------------------------------------------------------------------------------- comparing


def compare(
    a: Side, b: Side, feeds: Mapping[str, Array], tolerance: float = TOLERANCE, scales: Scales | None = None
) -> Comparison:
    """Runs both sides on the same inputs, by name. Raises Error when they share no tensor.

    `scales`: those that the first side was quantised by; the elements of the second that they do not reach are counted.
    """
    mine, theirs = a.tensors(), b.tensors()
    shared = {name for name, _, _ in mine} & {name for name, _, _ in theirs}
    plain_a, plain_b = a.run(feeds), b.run(feeds)
    pairs = _paired(plain_a, plain_b)
    if not shared and not pairs:
        raise Error(
            "the two models share no tensor name",
            hint=f"outputs of the first: {', '.join(plain_a)}; of the second: {', '.join(plain_b)}",
        )
    places = {name: (node, op) for name, node, op in (*theirs, *mine)}
    stretched = {}
    if scales is not None and scales.factors and a.proto is not None:
        stretched = _factors(simplified(parse(a.proto).model).graph, scales)
    outputs = [_row(name, places, plain_a[name], plain_b[other]) for name, other in pairs]
    rows: list[Row] = []
    if shared:
        inside_a, inside_b = a.run(feeds, shared), b.run(feeds, shared)
        both = shared & inside_a.keys() & inside_b.keys()
        rows = [
            replace(
                _row(name, places, inside_a[name], inside_b[name]),
                saturated=_saturated(inside_b[name], name, scales, stretched.get(name)),
            )
            for name, _, _ in mine
            if name in both
        ]
    return Comparison(tuple(rows or outputs), tuple(outputs), tolerance)


def _saturated(values: Array, name: str, scales: Scales | None, factors: Array | None) -> float | None:
    """The share of elements that saturate as integers of the tensor's scale, its channels multiplied by factors."""
    entry = None if scales is None else scales.tensors.get(name)
    if entry is None or not values.size:
        return None
    limits = np.iinfo(entry.dtype)
    values = values if factors is None else values * spread(factors, values.ndim)
    steps = np.rint(values / entry.scale) + entry.zero
    return float(((steps < limits.min) | (steps > limits.max)).mean())


def _paired(a: Mapping[str, Array], b: Mapping[str, Array]) -> list[tuple[str, str]]:
    """Outputs of one name; by position where the names differ but the numbers of outputs do not."""
    common = [(name, name) for name in a if name in b]
    if not common and len(a) == len(b):
        return list(zip(a, b, strict=True))
    return common


def _row(tensor: str, places: Mapping[str, tuple[str, str]], got: Any, want: Any) -> Row:
    node, op = places.get(tensor, ("", ""))
    a, b = np.asarray(got), np.asarray(want)
    if a.shape != b.shape or a.dtype != b.dtype:
        problem = f"{a.dtype}{list(a.shape)} against {b.dtype}{list(b.shape)}"
        return Row(tensor, node, op, a.shape, np.inf, np.inf, 0.0, problem)
    if a.dtype.kind not in "biufV":
        problem = "" if np.array_equal(a, b) else "other contents"
        return Row(tensor, node, op, a.shape, 0.0, 0.0, 1.0, problem)
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    finite = np.isfinite(x)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True) or not np.isfinite(y[finite]).all():
        return Row(tensor, node, op, a.shape, np.inf, np.inf, 0.0, "other elements are infinite or NaN")
    return Row(tensor, node, op, a.shape, *_errors(x[finite], y[finite]))


def _errors(x: Array, y: Array) -> tuple[float, float, float]:
    """Largest absolute difference, relative L2, cosine."""
    difference, size = float(np.linalg.norm(x - y)), float(np.linalg.norm(y))
    both = float(np.linalg.norm(x)) * size
    cosine = float(x @ y) / both if both else float(difference == 0)
    relative = difference / size if size else (np.inf if difference else 0.0)
    return float(np.abs(x - y).max(initial=0)), relative, cosine


# ------------------------------------------------------------------------------------------------------- subgraphs


def diverging_subgraph(
    a: Side, b: Side, feeds: Mapping[str, Array], first: Row, tolerance: float = TOLERANCE
) -> tuple[onnx.ModelProto, onnx.ModelProto, dict[str, Array]]:
    """The smallest graph that ends in `first` and still differs: of both sides, with its inputs.

    Starts with one node and adds the ones before it until the difference shows again: it may need a neighbour.
    Raises Error when a side is an offline model or nothing differs any more.
    """
    if a.proto is None or b.proto is None:
        raise Error("an offline model holds no graph to cut", hint="compare the ONNX files")
    wanted = {first.tensor}
    values = {**feeds, **b.run(feeds, {name for name, _, _ in b.tensors()})}
    while True:
        cuts = [_cut(side.proto, first.tensor, wanted, values) for side in (a, b) if side.proto is not None]
        inputs = {i.name: values[i.name] for cut in cuts for i in cut.graph.input}
        left, right = (Side(s.engine, cut).run(inputs) for s, cut in zip((a, b), cuts, strict=True))
        if _row(first.tensor, {}, left[first.tensor], right[first.tensor]).differs(tolerance):
            return cuts[0], cuts[1], inputs
        if not set(inputs) - set(feeds):
            raise Error(f"the graph up to {first.tensor} alone shows no difference", hint="save the whole model")
        wanted |= set(inputs) - set(feeds)


def _cut(proto: onnx.ModelProto, output: str, computed: set[str], values: Mapping[str, Array]) -> onnx.ModelProto:
    """The nodes that make `computed` and the constants they read; any other tensor they read is an input."""
    constants = {t.name: t for t in proto.graph.initializer}
    chosen = [n for n in proto.graph.node if computed.intersection(n.output)]
    read = list(dict.fromkeys(name for n in chosen for name in _reads(n)))
    chosen = [n for n in proto.graph.node if n in chosen or (n.op_type == "Constant" and n.output[0] in read)]
    made = {o for n in chosen for o in n.output}
    inputs = [name for name in read if name not in made and name not in constants]
    graph = onnx.helper.make_graph(
        chosen,
        "diverging",
        [_typed(name, values[name]) for name in inputs],
        [_typed(output, values[output])],
        [constants[name] for name in read if name in constants],
    )
    return onnx.helper.make_model(
        graph, opset_imports=list(proto.opset_import), ir_version=proto.ir_version, functions=list(proto.functions)
    )


def _reads(node: onnx.NodeProto) -> Sequence[str]:
    """Names a node reads, those that its subgraphs may take from outside included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            inner = {o for n in graph.node for o in n.output} | {i.name for i in graph.input}
            inner |= {t.name for t in graph.initializer}
            names += [name for n in graph.node for name in _reads(n) if name not in inner]
    return names


def _typed(name: str, array: Array) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, array.shape)
