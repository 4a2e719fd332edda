"""`build`: a parsed graph in, a runnable model out. The stages themselves live in passes/, lower/ and modelfile/."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from magicmind.codegen.target import Target, find_target
from magicmind.errors import ModelFormatError, TargetError
from magicmind.graph import Graph
from magicmind.ir.shape_spec import ShapeSpecs
from magicmind.ir.types import ranges_of
from magicmind.lower.choice import Chooser
from magicmind.lower.compile import Objects, Progress, compile_target
from magicmind.modelfile.parts import ModelParts, WeightStore
from magicmind.passes.convert_floats import half
from magicmind.passes.edit import sources_of
from magicmind.passes.pipeline import lower_layout, simplify
from magicmind.quant.accuracy import AccuracyTarget
from magicmind.quant.export import qdq_model, write_onnx
from magicmind.quant.precision import mode_of
from magicmind.quant.prepare import GivenScales, Prepared, Request, prepare
from magicmind.quant.quantise import Quantisation, calibrate_model, require_quantisation, simplified
from magicmind.quant.samples import Data, samples_of
from magicmind.quant.table import Scales
from magicmind.runtime.limits import thread_limit
from magicmind.runtime.model import Model, from_parts

DEFAULT = Quantisation()


def _quiet(what: str, done: int, total: int) -> None:
    """The default progress: none."""


def build(
    graph: Graph,
    precision: str = "force_float32",
    *,
    shapes: ShapeSpecs | None = None,
    targets: Sequence[str] = ("native",),
    threads: int | None = None,
    calibration: Data | None = None,
    quantisation: Quantisation = DEFAULT,
    scales: GivenScales | None = None,
    layers: Mapping[str, str] | None = None,
    computation_preference: str = "auto",
    accuracy_target: AccuracyTarget | None = None,
    never_slower: bool = False,
    tune: float | None = None,
    progress: Progress = _quiet,
) -> Model:
    """Optimises and compiles `graph` for every target and opens the result.

    precision: a mode of `quant/precision.py`; the q* ones need `calibration` (dicts of arrays, `quant.samples.Images`,
        a folder, a .npz file, "random:N") or `scales` (from `calibrate`, a file of it, or ranges by tensor), unless
        the network came quantised.
    quantisation: the algorithm and its options; the defaults need no choice.
    layers: modes of layers, by name or pattern. computation_preference: auto, fast or high_precision.
    accuracy_target: layers that hurt stay out of the integers until the outputs reach it on the calibration data.
    never_slower: layers stay float where integers are measured slower on this machine.
    shapes: per input a list of dims (int, "lo..hi", "lo..", "name=lo..hi"), by name or in order; they override the
        graph's.
    targets: names of `codegen/target.py` or "native", or one alone; the first is preferred among those that fit a CPU.
    threads: the thread count schedules are chosen for; results do not depend on it.
    tune: seconds to spend on measuring schedules on this machine (docs/guide/tuning.md); None takes the cost model's.
    progress: called with (what, done, total) as kernels are compiled.
    Raises PrecisionError, TargetError, ShapeError, UnsupportedOperatorError (all nodes at once).
    """
    options = Options(
        precision, shapes, targets, threads, calibration, quantisation, scales, layers or {}, computation_preference,
        accuracy_target, never_slower, tune, progress,
    )  # fmt: skip
    return from_parts(compile_parts(graph, options))


def calibrate(
    graph: Graph,
    data: Data,
    quantisation: Quantisation = DEFAULT,
    *,
    shapes: ShapeSpecs | None = None,
    progress: Progress = _quiet,
) -> Scales:
    """Runs `graph` in float32 on `data`; the scale of every tensor that may be quantised, to save or to build with.

    Raises PrecisionError for data that does not fit, and NaN or infinity in a tensor, naming tensor and sample.
    """
    _require_graph(graph)
    require_quantisation(quantisation)
    return _calibrate(simplified(graph.with_shapes(shapes or {}).model), data, quantisation, progress)


def export_qdq(
    graph: Graph,
    path: str | os.PathLike[str],
    precision: str = "qint8_mixed_float32",
    *,
    shapes: ShapeSpecs | None = None,
    calibration: Data | None = None,
    quantisation: Quantisation = DEFAULT,
    scales: GivenScales | None = None,
    layers: Mapping[str, str] | None = None,
    computation_preference: str = "auto",
    progress: Progress = _quiet,
) -> None:
    """Writes the graph that `build` would compile for these arguments as an ONNX model with Q/DQ pairs.

    Raises PrecisionError as `build` does, UnsupportedOperatorError for operators that ONNX does not have.
    """
    _require_graph(graph)
    options = Options(
        precision, shapes, (), None, calibration, quantisation, scales, layers or {}, computation_preference,
        progress=progress,
    )  # fmt: skip
    write_onnx(qdq_model(_prepared(graph, options).graph.model), path)


def _calibrate(model: ir.Model, data: Data, how: Quantisation, progress: Progress) -> Scales:
    """As `calibrate`, of a simplified graph, which is changed where it is equalised."""
    samples = samples_of(data, Graph(model.clone()).inputs)
    return calibrate_model(model, samples, how, build, progress)


@dataclass(frozen=True)
class Options:
    """The arguments of `build`."""

    precision: str = "force_float32"
    shapes: ShapeSpecs | None = None
    targets: Sequence[str] = ("native",)
    threads: int | None = None
    calibration: Data | None = None
    quantisation: Quantisation = DEFAULT
    scales: GivenScales | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    computation_preference: str = "auto"
    accuracy_target: AccuracyTarget | None = None
    never_slower: bool = False
    tune: float | None = None
    progress: Progress = _quiet
    ends: Callable[[ir.Model], None] | None = None
    """What is put around the graph once it is quantised (passes/ends.py), in place."""

    def machines(self) -> list[Target]:
        """The targets, each once, with the threads to choose schedules for. Raises TargetError."""
        targets = (self.targets,) if isinstance(self.targets, str) else self.targets
        if not targets:
            hint = 'leave them out for this machine\'s, or name some: ["x86-64-v3"]'
            raise TargetError("no targets are given", hint=hint)
        machines = [find_target(name) for name in dict.fromkeys(targets)]
        threads, tune = self.threads, self.tune
        if threads is not None and threads < 1:
            hint = "leave it out for the default"
            raise TargetError(f"threads={threads}: schedules need at least one thread", hint=hint)
        if tune is not None and tune <= 0.0:
            hint = "give seconds above zero, or None not to tune"
            raise TargetError(f"tune={tune}: measuring takes time", hint=hint)
        if threads is not None or tune is not None:
            machines = [replace(machine, threads=threads or thread_limit()) for machine in machines]
        return machines


def compile_parts(graph: Graph, options: Options) -> ModelParts:
    """`build` up to the parts of the file; runs nothing unless it is to tune, so targets may be foreign."""
    _require_graph(graph)
    machines = options.machines()
    return _finished(_prepared(graph, options), options, machines)


def _prepared(graph: Graph, options: Options) -> Prepared:
    """The graph in its shapes and precision."""
    request = Request(
        mode_of(options.precision), options.calibration, options.quantisation, options.scales, options.layers,
        options.computation_preference, options.accuracy_target, options.never_slower,
    )  # fmt: skip
    here = replace(options, targets=("native",), tune=None, ends=None, progress=_quiet)

    def finish(ready: Prepared) -> Model:
        return from_parts(_finished(ready, here, here.machines()))

    return prepare(graph.with_shapes(options.shapes or {}), request, build, finish, options.progress)


def _finished(ready: Prepared, options: Options, machines: Sequence[Target]) -> ModelParts:
    """A graph in its precision, compiled."""
    graph, plan = ready.graph, ready.plan
    if options.ends is not None:
        graph = graph.edited(options.ends)
    simplify(graph.model)
    exceeds = []
    if plan.halves:
        kept = [node.name or "" for node in graph.model.graph if plan.floats(sources_of(node)) == "float32"]
        exceeds = half(graph.model, kept, ready.peaks)
    remarks = {**ready.info, **({"float32": [str(found) for found in exceeds]} if exceeds else {})}
    portable = without_weights(graph.model)
    lower_layout(graph.model)

    kernels: Objects = {}  # variants of the same network share most of theirs

    def parts(choosers: Sequence[tuple[Target, Chooser]], progress: Progress, **info: object) -> ModelParts:
        weights = WeightStore()
        compiled = [compile_target(graph.model, machine, weights, progress, how, kernels) for machine, how in choosers]
        return ModelParts(
            inputs=tuple(graph.inputs),
            outputs=tuple(graph.outputs),
            precision=plan.mode.name,
            graph=portable,
            targets=tuple(compiled),
            weights=weights,
            ranges=ranges_of(graph.model),
            info=remarks | info,
        )

    if options.tune is None:
        return parts([(machine, Chooser()) for machine in machines], options.progress)
    from magicmind.tune.session import tuned_choices

    def alone(machine: Target, how: Chooser) -> ModelParts:
        return parts([(machine, how)], _quiet)

    choices = tuned_choices(graph.model, machines, alone, options.tune, options.progress)
    chosen = list(zip(machines, choices, strict=True))
    picks = {machine.name: dict(sorted(how.picks.items())) for machine, how in chosen}
    return parts(chosen, options.progress, tuned=True, picks=picks)


def _require_graph(graph: object) -> None:
    if not isinstance(graph, Graph):
        raise ModelFormatError(
            f"build takes a graph, not {graph!r:.60}", hint="magicmind.build(magicmind.parse(...)) reads a model first"
        )


_SMALL_CONSTANT = 1024
"""Bytes up to which a constant stays in the graph that is saved for viewers."""


def without_weights(model: ir.Model) -> bytes:
    """The graph as ONNX, its larger constants as inputs: for viewers, not for running."""
    copy = model.clone()
    initializers = copy.graph.initializers
    for name, value in list(initializers.items()):
        if value.const_value is not None and value.const_value.nbytes > _SMALL_CONSTANT:
            del initializers[name]
            value.const_value = None
            copy.graph.inputs.append(value)
    return bytes(ir.to_proto(copy).SerializeToString(deterministic=True))
