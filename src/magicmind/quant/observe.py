"""Calibration: the network runs in float32 on samples, and every tensor that may be quantised is counted.

Memory holds one sample's tensors and one histogram per tensor, however many samples there are. Where the tensors of one
sample are too large together, several builds of the network show a group of them each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx_ir

from magicmind.errors import Error, PrecisionError
from magicmind.graph import Graph
from magicmind.ir import dims
from magicmind.ir.types import ranges_of, type_of
from magicmind.quant.channel_histogram import ChannelHistogram
from magicmind.quant.count import magnitude, reduced
from magicmind.quant.histogram import Histogram
from magicmind.quant.samples import Sample
from magicmind.runtime.limits import thread_limit
from magicmind.runtime.model import Model
from magicmind.runtime.session import Session
from magicmind.tensorinfo import TensorInfo

Array = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[str, int, int], None]
Build = Callable[[Graph], Model]
Shapes = dict[str, tuple[int, ...]]

GROUP_BYTES = 512 << 20
"""What the watched tensors of one build may take together."""


@dataclass(frozen=True)
class Watch:
    """What is wanted of a tensor: a histogram, of each channel of [N, C, ...] where `channels`; means along an axis; or
    just its largest magnitude."""

    histogram: bool = True
    axis: int | None = None
    channels: bool = False


@dataclass
class Observed:
    """What was seen of a tensor: its values, the sums of every index of one axis and of its squares, the largest
    magnitude."""

    histogram: Histogram = field(default_factory=Histogram)
    channels: ChannelHistogram | None = None
    sums: Array | None = None
    squares: Array | None = None
    counted: int = 0
    peak: float = 0.0

    @property
    def means(self) -> Array | None:
        """The mean per index of the axis."""
        return None if self.sums is None or not self.counted else self.sums / self.counted

    @property
    def power(self) -> Array | None:
        """The mean square per index of the axis."""
        return None if self.squares is None or not self.counted else self.squares / self.counted

    def add(self, x: Array, watch: Watch) -> None:
        """Float32 numbers. Raises ValueError for those that are not finite; infinity passes by a mere magnitude: masks
        hold -inf."""
        if x.size == 0:
            return
        if watch.histogram and watch.channels:
            self.channels = self.channels or ChannelHistogram(x.shape[1])
            self.channels.add(x)
            peak = self.channels.peak
        elif watch.histogram:
            self.histogram.add(x)
            peak = self.histogram.peak
        else:
            peak = magnitude(x, infinity=watch.axis is None)
        self.peak = max(self.peak, peak)
        if watch.axis is None:
            return
        sums, squares = (reduced(op, x, watch.axis % x.ndim) for op in ("Sum", "SumSquare"))
        self.sums = sums if self.sums is None else self.sums + sums
        self.squares = squares if self.squares is None else self.squares + squares
        self.counted += x.size // len(sums)


@dataclass
class Observations:
    """Of every watched tensor, and how many samples there were."""

    tensors: dict[str, Observed]
    samples: int = 0


def observe(
    graph: Graph,
    watched: Mapping[str, Watch],
    samples: Iterable[Sample],
    build: Build,
    progress: Progress,
    total: int = 0,
) -> Observations:
    """Runs every sample. `build` compiles in float32.

    Raises PrecisionError for no samples, for samples that the network does not take, and for NaN or infinity in a
    tensor, naming tensor and sample; infinity is let pass where just the magnitude is wanted.
    """
    dtypes = {info.name: info.dtype for info in graph.inputs}
    inputs = dtypes.keys()
    found = Observations({name: Observed() for name in watched})
    names = [name for name in watched if name not in inputs]
    with _Watchers(graph, names, build) as watchers, ThreadPoolExecutor(thread_limit()) as pool:
        for number, sample in enumerate(samples, 1):
            where = f"calibration sample {number}"
            _require_names(sample, inputs, where)
            sample = {name: _as(dtypes[name], array, where) for name, array in sample.items()}
            for i, outputs in enumerate(watchers.run(sample, where)):
                arrays = outputs if i else sample | outputs  # the inputs too, once they are known to fit
                shown = {name: array for name, array in arrays.items() if name in watched}
                list(pool.map(partial(_count, found, watched, where), shown.items()))
            found.samples = number
            progress("calibrating", number, max(total, number))
    if not found.samples:
        raise PrecisionError("the calibration data holds no sample", hint="give at least one; some 64 are usual")
    return found


def _as(dtype: np.dtype[Any], array: Any, where: str) -> Array:
    """The array by value in the input's type."""
    try:
        if np.iscomplexobj(array):
            raise TypeError
        return np.ascontiguousarray(array, dtype)
    except (TypeError, ValueError) as error:
        raise PrecisionError(f"{where}: {array!r:.60} is no array of {dtype}") from error


def _count(found: Observations, watched: Mapping[str, Watch], where: str, shown: tuple[str, Array]) -> None:
    name, array = shown
    try:
        found.tensors[name].add(np.asarray(array, np.float32), watched[name])
    except ValueError as error:
        raise PrecisionError(
            f"{where}: tensor {name!r} contains {error}", hint="leave the sample out, or look at its input"
        ) from error


def _require_names(sample: Sample, inputs: Set[str], where: str) -> None:
    if not isinstance(sample, Mapping):
        raise PrecisionError(
            f"{where} is {type(sample).__name__}", hint="calibration data are dicts from input name to array"
        )
    if set(sample) != inputs:
        given = ", ".join(map(str, sample)) or "nothing"
        hint = f"the network's inputs: {', '.join(sorted(inputs))}"
        raise PrecisionError(f"{where} gives {given}", hint=hint)


class _Watchers:
    """Builds of a graph with groups of its tensors as further outputs.

    Kernels for one shape compile and run faster than those for a range, and most data has one: a graph with mutable
    dims is built for the first sample's shapes, and as it is only when a sample has others.
    """

    def __init__(self, graph: Graph, names: Sequence[str], build: Build) -> None:
        self._graph, self._names, self._build = graph, names, build
        self._models: list[Model] = []
        self._sessions: list[Session] = []
        self._held: dict[str, Array] | None = None
        """Outputs whose memory the next call writes to again: fresh pages cost as much as the network."""
        self._shapes: Shapes | None = None
        """What the sessions are for; None before the first sample; empty: whatever the graph takes."""

    def run(self, sample: Sample, where: str) -> Iterator[dict[str, Array]]:
        """The outputs of one build after the other."""
        try:
            self._require(sample)
            for session in self._sessions:
                outputs = session.run(sample, self._held)
                if len(self._sessions) == 1 and _is_fixed(session.outputs):
                    self._held = outputs
                yield outputs
        except Error as error:
            raise PrecisionError(f"{where}: {error}") from error

    def _require(self, sample: Sample) -> None:
        """Builds for the sample where what there is does not take it."""
        shapes = {name: tuple(np.shape(array)) for name, array in sample.items()}
        if self._shapes == {} or self._shapes == shapes:
            return
        fixed = self._shapes is None and _is_one_of_many(shapes, self._graph.inputs)
        self.close()
        self._shapes = shapes if fixed else {}
        graph = self._graph.with_shapes(shapes) if fixed else self._graph
        for group in _groups(graph.model, self._names):
            self._models.append(self._build(watching(graph, group)))
        self._sessions = [model.session() for model in self._models]

    def close(self) -> None:
        """Gives back what the builds hold."""
        for model in self._models:
            model.close()
        self._models, self._sessions, self._held = [], [], None

    def __enter__(self) -> _Watchers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_fixed(tensors: Iterable[TensorInfo]) -> bool:
    return all(isinstance(dim, int) for info in tensors for dim in info.shape)


def _is_one_of_many(shapes: Shapes, inputs: Sequence[TensorInfo]) -> bool:
    """Whether the inputs may have these shapes, and others as well."""

    def may_be(size: int, dim: int | tuple[int, int | None]) -> bool:
        low, high = (dim, dim) if isinstance(dim, int) else dim
        return low <= size and (high is None or size <= high)

    mutable = any(not isinstance(dim, int) for info in inputs for dim in info.shape)
    return mutable and all(
        len(info.shape) == len(shapes[info.name]) and all(map(may_be, shapes[info.name], info.shape)) for info in inputs
    )


def watching(graph: Graph, names: Iterable[str]) -> Graph:
    """The graph with these tensors as its outputs, after those it has."""
    model = graph.model.clone()
    there = {value.name for value in model.graph.outputs}
    values = {output.name: output for node in model.graph for output in node.outputs}
    model.graph.outputs.extend(values[name] for name in names if name not in there)
    return Graph(model)


def _groups(model: onnx_ir.Model, names: Sequence[str]) -> list[list[str]]:
    """The names in order, in groups of at most `GROUP_BYTES`; at least one group."""
    values = {output.name: output for node in model.graph for output in node.outputs}
    sizes = {name: high if high is not None else low for name, (low, high) in ranges_of(model).items()}
    groups: list[list[str]] = [[]]
    held = 0
    for name in names:
        nbytes = 4 * _elements(values[name], sizes)
        if groups[-1] and held + nbytes > GROUP_BYTES:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += nbytes
    return groups


def _elements(value: onnx_ir.Value, sizes: Mapping[str, int]) -> int:
    type_ = type_of(value)
    assert type_ is not None
    if type_.shape is None or not dims.symbols_of(type_.size) <= sizes.keys():
        return 0
    return dims.evaluate(type_.size, sizes)
