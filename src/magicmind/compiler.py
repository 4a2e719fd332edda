"""`build`: a parsed graph in, a runnable model out. The stages themselves live in passes/, lower/ and modelfile/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from magicmind.codegen.target import Target, find_target
from magicmind.errors import ModelFormatError, PrecisionError, TargetError
from magicmind.graph import Graph
from magicmind.ir.shape_spec import ShapeSpecs
from magicmind.ir.types import ranges_of
from magicmind.lower.choice import Chooser
from magicmind.lower.compile import Objects, Progress, compile_target
from magicmind.modelfile.parts import ModelParts, WeightStore
from magicmind.passes.convert_floats import half
from magicmind.passes.pipeline import lower_layout, simplify
from magicmind.runtime.limits import thread_limit
from magicmind.runtime.model import Model, from_parts

PRECISIONS = ("force_float32", "force_float16")
_SPELLINGS = {f"forced_{name.removeprefix('force_')}": name for name in PRECISIONS}


def _quiet(what: str, done: int, total: int) -> None:
    """The default progress: none."""


def build(
    graph: Graph,
    precision: str = "force_float32",
    *,
    shapes: ShapeSpecs | None = None,
    targets: Sequence[str] = ("native",),
    threads: int | None = None,
    calibration: Iterable[Mapping[str, np.ndarray[Any, Any]]] | None = None,
    tune: float | None = None,
    progress: Progress = _quiet,
) -> Model:
    """Optimises and compiles `graph` for every target and opens the result.

    shapes: per input a list of dims (int, "lo..hi", "lo..", "name=lo..hi"), by name or in order; they override the
        graph's.
    targets: names of `codegen/target.py` or "native", or one alone; the first is preferred among those that fit a CPU.
    threads: the thread count schedules are chosen for; results do not depend on it.
    tune: seconds to spend on measuring schedules on this machine (docs/guide/tuning.md); None takes the cost model's.
    progress: called with (what, done, total) as kernels are compiled.
    Raises PrecisionError, TargetError, ShapeError, UnsupportedOperatorError (all nodes at once).
    """
    return from_parts(compile_parts(graph, Options(precision, shapes, targets, threads, calibration, tune, progress)))


@dataclass(frozen=True)
class Options:
    """The arguments of `build`."""

    precision: str = "force_float32"
    shapes: ShapeSpecs | None = None
    targets: Sequence[str] = ("native",)
    threads: int | None = None
    calibration: Iterable[Mapping[str, np.ndarray[Any, Any]]] | None = None
    tune: float | None = None
    progress: Progress = _quiet

    def checked_precision(self) -> str:
        """Its one spelling. Raises PrecisionError for an unknown one, and for calibration data that it does not use."""
        precision = _SPELLINGS.get(self.precision, self.precision)
        if precision not in PRECISIONS:
            hint = f"supported: {', '.join(PRECISIONS)}"
            raise PrecisionError(f"precision {precision!r} is not supported", hint=hint)
        if self.calibration is not None:
            raise PrecisionError(f"{precision} takes no calibration data", hint="leave calibration out")
        return precision

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
    if not isinstance(graph, Graph):
        raise ModelFormatError(
            f"build takes a graph, not {graph!r:.60}", hint="magicmind.build(magicmind.parse(...)) reads a model first"
        )
    precision, machines = options.checked_precision(), options.machines()
    graph = graph.with_shapes(options.shapes or {})
    simplify(graph.model)
    if precision == "force_float16":
        half(graph.model)
    portable = without_weights(graph.model)
    lower_layout(graph.model)

    kernels: Objects = {}  # variants of the same network share most of theirs

    def parts(choosers: Sequence[tuple[Target, Chooser]], progress: Progress, **info: object) -> ModelParts:
        weights = WeightStore()
        compiled = [compile_target(graph.model, machine, weights, progress, how, kernels) for machine, how in choosers]
        return ModelParts(
            inputs=tuple(graph.inputs),
            outputs=tuple(graph.outputs),
            precision=precision,
            graph=portable,
            targets=tuple(compiled),
            weights=weights,
            ranges=ranges_of(graph.model),
            info=info,
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
