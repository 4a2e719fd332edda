"""A graph made ready for its precision: planned, calibrated, quantised, and held to what was promised."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
import onnx_ir

from magicmind.errors import PrecisionError
from magicmind.graph import Graph
from magicmind.quant.accuracy import SAMPLES, AccuracyTarget, Outputs, contributions, flops_of, outputs_of, reach
from magicmind.quant.channels import scale_channels
from magicmind.quant.equalise import equalise
from magicmind.quant.kinds import has_quantisers
from magicmind.quant.observe import Build, Progress
from magicmind.quant.place import place
from magicmind.quant.precision import Mode, PrecisionPlan
from magicmind.quant.quantise import (
    Quantisation,
    calibrate_model,
    observe_peaks,
    require_quantisation,
    simplified,
)
from magicmind.quant.samples import Data, Sample, Samples, samples_of
from magicmind.quant.speed import choose_by_time
from magicmind.quant.table import Scales
from magicmind.runtime.model import Model

_log = logging.getLogger(__name__)

GivenScales: TypeAlias = Scales | str | os.PathLike[str] | Mapping[str, Any]
"""Scales, the file of some, or ranges by tensor: {tensor: [min, max]}."""

_PROMISES = "an accuracy target, or never slower, chooses the layers that integers compute"
_FEW = 4
"""Samples on which every layer is tried alone: enough to put them in order."""


@dataclass(frozen=True)
class Request:
    """What was asked of a network's precision; the fields are the arguments of `magicmind.build`."""

    mode: Mode
    calibration: Data | None
    quantisation: Quantisation
    scales: GivenScales | None
    layers: Mapping[str, str]
    preference: str
    accuracy: AccuracyTarget | None = None
    never_slower: bool = False

    def __post_init__(self) -> None:
        require_quantisation(self.quantisation)
        for value, kind, what in (
            (self.layers or {}, Mapping, 'layers: {"conv*": "force_float32"}'),
            (self.accuracy, AccuracyTarget | None, 'accuracy_target: magicmind.AccuracyTarget(25, "sqnr")'),
        ):
            if not isinstance(value, kind):
                raise PrecisionError(f"{what.partition(':')[0]} is {type(value).__name__} {value!r:.60}", hint=what)

    @property
    def has_data(self) -> bool:
        return self.calibration is not None or self.scales is not None

    @property
    def promises(self) -> bool:
        """Whether layers may have to stay out of the integers."""
        return self.accuracy is not None or self.never_slower


@dataclass(frozen=True)
class Prepared:
    """A graph ready for its precision. `peaks`: magnitudes that float16 may not hold; `info`: what the file says."""

    graph: Graph
    plan: PrecisionPlan
    peaks: Mapping[str, float] = field(default_factory=dict)
    info: Mapping[str, object] = field(default_factory=dict)


Finish: TypeAlias = Callable[[Prepared], Model]


def prepare(graph: Graph, request: Request, build: Build, finish: Finish, progress: Progress) -> Prepared:
    """The graph quantised, if that is asked for.

    build: compiles a graph in float32; finish: compiles what is prepared. Both for this machine.
    Raises PrecisionError for what cannot be honoured.
    """
    mode = request.mode
    if mode.name == "force_float32" and not request.layers:
        if request.has_data:
            raise PrecisionError(f"{mode.name} takes no calibration data", hint="leave calibration and scales out")
        if request.promises:
            raise PrecisionError(f"{mode.name} has no integers: {_PROMISES}", hint="give a q* precision")
        return Prepared(graph, PrecisionPlan(mode, request.preference))
    known = [node.name or "" for node in graph.model.graph]
    model = simplified(graph.model)
    plan = PrecisionPlan.of(model, mode, request.layers, request.preference, known)
    if has_quantisers(graph.model):  # it has its scales, and stays as it is
        if request.promises:
            raise PrecisionError(f"the network came quantised: {_PROMISES}", hint="ask them of the network in float")
        if request.has_data:
            _log.warning(
                "the network came quantised: it keeps its scales, those given and the calibration are not read"
            )
        return Prepared(graph, plan)
    if plan.quantises:
        return _quantised(model, plan, request, build, finish, progress)
    if request.promises:
        raise PrecisionError(f"{mode.name} has no integers: {_PROMISES}", hint="give a q* precision, or leave them out")
    if request.scales is not None:
        raise PrecisionError(f"{mode.name} takes no scales", hint="give calibration: float16 needs magnitudes alone")
    if request.calibration is None:
        return Prepared(graph, plan)
    samples = samples_of(request.calibration, graph.inputs)
    return Prepared(graph, plan, observe_peaks(model, samples, build, progress))


def _quantised(
    model: onnx_ir.Model, plan: PrecisionPlan, request: Request, build: Build, finish: Finish, progress: Progress
) -> Prepared:
    """The simplified graph with pairs, by a plan that keeps the promises asked for."""
    kept: list[Sample] = []
    scales = _scales(model, request, build, progress, kept)
    how = request.quantisation.placing

    def quantised(chosen: PrecisionPlan, info: Mapping[str, object]) -> Prepared:
        copy = model.clone()
        place(copy, chosen, scales, how)
        return Prepared(Graph(copy), chosen, scales.peaks, {"calibration": scales.provenance, **info})

    info: dict[str, object] = {}
    if request.promises and not kept:
        raise PrecisionError("an accuracy target, or never slower, needs samples to measure", hint="give calibration")
    layers = [node.name or "" for node in model.graph if plan.bits(node)]
    if request.never_slower:

        def variant(floats: Sequence[str] | None) -> Model:
            return finish(quantised(plan.without(layers if floats is None else floats), {}))

        timed = choose_by_time(variant, layers, kept[0])
        plan = plan.without(timed.kept)
        layers = [name for name in layers if name not in timed.kept]
        info["never_slower"] = {
            "kept": list(timed.kept), "float_ms": timed.float_ms, "integer_ms": timed.integer_ms,
            "chosen_ms": timed.chosen_ms,
        }  # fmt: skip
    if request.accuracy is not None:
        target, samples = request.accuracy, kept[: request.accuracy.samples]
        wanted = outputs_of(build(Graph(model.clone())), samples)
        few = samples[:_FEW]

        def alone_is(outputs: Sequence[Outputs]) -> float:
            return target.measure(outputs, wanted[: len(few)])

        alone = contributions(model, plan, scales, how, few, alone_is, build)

        def measure(floats: Sequence[str]) -> float:
            progress(f"measuring with {len(floats)} of {len(layers)} layers in float", 0, 1)
            return target.measure(outputs_of(finish(quantised(plan.without(floats), {})), samples), wanted)

        reached = reach(target, list(alone), measure)
        plan = plan.without(reached.kept)
        info["accuracy"] = {
            "metric": target.name, "target": target.value, "reached": _json(reached.value),
            "without": _json(reached.full),
            "kept": list(reached.kept), "share_of_flops": _share(flops_of(model), reached.kept),
            "alone": {name: value for name, value in alone.items() if isfinite(value)},
        }  # fmt: skip
    return quantised(plan, info)


def _json(value: float) -> float | None:
    """None for an infinite one, which JSON does not have: nothing differs."""
    return value if isfinite(value) else None


def _share(flops: Mapping[str, int], kept: Sequence[str]) -> float:
    """Of all products' arithmetic, that of these layers."""
    return sum(flops.get(name, 0) for name in kept) / (sum(flops.values()) or 1)


def _scales(model: onnx_ir.Model, request: Request, build: Build, progress: Progress, kept: list[Sample]) -> Scales:
    """The scales given or found; the graph is equalised if they are of an equalised one. Fills `kept` with samples."""
    how = request.quantisation
    count = request.accuracy.samples if request.accuracy is not None else SAMPLES
    samples = None
    if request.calibration is not None:
        found = samples_of(request.calibration, Graph(model.clone()).inputs)
        dtypes = {value.name: value.dtype.numpy() for value in model.graph.inputs if value.dtype is not None}
        samples = replace(found, items=_keeping(found, kept, count, dtypes))
    if request.scales is None:
        if samples is None:
            raise PrecisionError(
                f"{request.mode.name} needs to know the range of every tensor",
                hint="give calibration (samples, a folder of images, a .npz file, random:8 to try), or scales",
            )
        return calibrate_model(model, samples, how, build, progress)
    if samples is not None:  # the scales are there: the data is for measuring
        deque(islice(samples.items, count + 1), 0)
    given = request.scales
    scales = given if isinstance(given, Scales) else Scales.given(given, symmetric=how.symmetric)
    if scales.equalised:
        equalise(model)
    scale_channels(model, scales.factors)
    return scales


def _keeping(
    samples: Samples, kept: list[Sample], count: int, dtypes: Mapping[str | None, np.dtype[Any]]
) -> Iterator[Sample]:
    """The samples; the first `count` of them, in the inputs' types, are put into `kept` once they were taken."""
    for sample in samples.items:
        yield sample  # what is wrong with it is said by who takes it
        if len(kept) < count:
            kept.append({name: np.asarray(array, dtypes.get(name)) for name, array in sample.items()})
