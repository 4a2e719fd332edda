"""Quantisation from options to a quantised graph: what `build` and `calibrate` are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import PrecisionError
from magicmind.graph import Graph
from magicmind.ir.types import shape_of
from magicmind.passes.edit import only_user
from magicmind.passes.infra import Runner
from magicmind.passes.pipeline import layout_stages, stages
from magicmind.quant.channels import FIXED, channel_classes, scale_channels
from magicmind.quant.equalise import equalise
from magicmind.quant.histogram import Histogram
from magicmind.quant.kinds import KINDS, activations, is_float, is_product, weight_of
from magicmind.quant.observe import Build, Observations, Progress, Watch, observe
from magicmind.quant.place import Placing
from magicmind.quant.places import Places, all_places, is_elementwise
from magicmind.quant.samples import Samples
from magicmind.quant.scales import TensorScale, algorithm_of, find_scale
from magicmind.quant.share import share_scales
from magicmind.quant.stretch import stretched
from magicmind.quant.table import Scales

Array = np.ndarray[Any, np.dtype[Any]]

LARGE = 2.0**14
"""Magnitudes from which float16, which ends at 65504, may be too narrow."""


@dataclass(frozen=True)
class Quantisation:
    """How numbers become integers; the defaults need no choice.

    algorithm: how a tensor's range is found: linear, eqnm, percentile or entropy (`quant/scales.py`).
    symmetric: activations around zero; else their zero point is where it wastes no integer.
    per_axis: one scale per output channel of weights, else one for all; `per_axis_of` says otherwise for kinds of
        products: conv, depthwise, deconv, matmul.
    bias_correction: biases take back what rounding the weights does to the mean of the outputs.
    equalise: balances the channels of neighbouring convolutions before anything is measured; None does where weights
        have one scale: it is what they lack.
    """

    algorithm: str = "eqnm"
    symmetric: bool = False
    per_axis: bool = True
    bias_correction: bool = True
    equalise: bool | None = None
    per_axis_of: Mapping[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        algorithm_of(self.algorithm)
        for kind, per_axis in self.per_axis_of.items():
            if kind not in KINDS or not isinstance(per_axis, bool):
                hint = f"true or false for one of {', '.join(KINDS)}"
                raise PrecisionError(f"per_axis_of has {kind!r}: {per_axis!r:.40}", hint=hint)

    @property
    def equalises(self) -> bool:
        return not self.per_axis if self.equalise is None else self.equalise

    @property
    def placing(self) -> Placing:
        return Placing(self.per_axis, self.per_axis_of, self.symmetric, self.bias_correction)


def require_quantisation(how: object) -> None:
    """Raises PrecisionError for what is none: the name of an algorithm, say."""
    if not isinstance(how, Quantisation):
        hint = 'magicmind.Quantisation(algorithm="linear"), or leave it out'
        raise PrecisionError(f"quantisation is {how!r:.40}, not a Quantisation", hint=hint)


def simplified(model: onnx_ir.Model) -> onnx_ir.Model:
    """The portable form in the ONNX domain, where tensors are observed and quantised; a copy."""
    copy = model.clone()
    first, *rest = stages()
    Runner().run([first], copy, [*rest, *layout_stages()])
    return copy


def calibrate_model(
    model: onnx_ir.Model,
    samples: Samples,
    how: Quantisation,
    build: Build,
    progress: Progress,
) -> Scales:
    """The scales of a simplified graph, which is equalised in place if asked, and whose channels are stretched where
    weights have a scale per channel. Raises PrecisionError."""
    if how.equalises:
        equalise(model)
    graph = model.graph
    places = all_places(graph, 8)
    if not places.roots:
        raise PrecisionError("the network has nothing to quantise", hint="build it with force_float32 or force_float16")
    stretches = how.per_axis and all(how.per_axis_of.values())
    classes = {v: row for v, row in channel_classes(graph).items() if (row != FIXED).any()} if stretches else {}
    seen = observe(Graph(model), _watches(graph, places, classes), samples.items, build, progress, samples.total)
    factors = stretched(graph, classes, places.scaled, seen.tensors, how.symmetric)
    of_value = {value: factors[row] for value, row in classes.items()}
    scales = scales_of(places, seen, how, samples, of_value)
    scale_channels(model, scales.factors)
    return scales


def scales_of(
    places: Places, seen: Observations, how: Quantisation, samples: Samples, factors: Mapping[onnx_ir.Value, Array]
) -> Scales:
    """The scales by the algorithm asked once channels are multiplied by their factors, concatenated tensors on common
    ones where that costs little."""
    by_name = {value.name or "": numbers for value, numbers in factors.items()}

    def histogram_of(value: onnx_ir.Value) -> Histogram:
        observed = seen.tensors[value.name or ""]
        return observed.histogram if observed.channels is None else observed.channels.scaled(factors[value])

    def find(histogram: Histogram) -> TensorScale:
        return find_scale(histogram, how.algorithm, symmetric=how.symmetric)

    histograms = {value: histogram_of(value) for value in places.scaled}
    found = share_scales(places, histograms, {v: find(h) for v, h in histograms.items()}, how.symmetric)
    scales = {v.name or "": scale for v, scale in found.items()}
    means = {name: o.means * by_name.get(name, 1.0) for name, o in seen.tensors.items() if o.means is not None}
    peaks = {name: o.peak for name, o in seen.tensors.items()}
    peaks |= {v.name or "": h.peak for v, h in histograms.items() if h.total}
    large = {name: peak for name, peak in peaks.items() if peak > LARGE}
    kept = {name: by_name[name] for name in means if name in by_name and (by_name[name] != 1).any()}
    return Scales(scales, means, large, seen.samples, samples.random, how.equalises, samples.data, kept)


def observe_peaks(model: onnx_ir.Model, samples: Samples, build: Build, progress: Progress) -> dict[str, float]:
    """The magnitudes above `LARGE` of the tensors of a simplified graph: those that float16 may not hold."""
    watched = {v.name or "": Watch(histogram=False) for v in _stored(model.graph)}
    seen = observe(Graph(model), watched, samples.items, build, progress, samples.total)
    return {name: o.peak for name, o in seen.tensors.items() if o.peak > LARGE}


def _watches(graph: onnx_ir.Graph, places: Places, classes: Mapping[onnx_ir.Value, Array]) -> dict[str, Watch]:
    axes, scaled = _mean_axes(graph), set(places.scaled)
    values = dict.fromkeys((*places.scaled, *axes, *_stored(graph)))
    return {v.name or "": Watch(v in scaled, axes.get(v), v in scaled and v in classes) for v in values}


def _stored(graph: onnx_ir.Graph) -> Iterator[onnx_ir.Value]:
    """Floats that reach memory: not what an elementwise operator takes from the operator before it."""
    for node in graph:
        for value in node.outputs:
            user = only_user(value)
            if is_float(value) and (user is None or not is_elementwise(user)):
                yield value


def _mean_axes(graph: onnx_ir.Graph) -> dict[onnx_ir.Value, int]:
    """What products with constant weights read, with the axis that the weights sum over."""
    axes: dict[onnx_ir.Value, int] = {}
    for node in graph:
        if is_product(node) and weight_of(node) is not None and activations(node):
            (value,) = activations(node)
            shape = shape_of(value)
            if shape is not None and value.graph is graph:
                axes[value] = 1 if node.op_type.startswith("Conv") else len(shape) - 1
    return axes
