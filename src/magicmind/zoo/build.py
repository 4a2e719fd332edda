"""The second step: the network's files to an offline model, calibrated on pictures where it is to be in integers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import magicmind
from magicmind.errors import Error
from magicmind.quant.precision import mode_of
from magicmind.zoo.datasets import Dataset
from magicmind.zoo.export import quiet, source_files
from magicmind.zoo.fetch import Report
from magicmind.zoo.geometry import Array
from magicmind.zoo.graph import for_pictures
from magicmind.zoo.preparation import BrokenImage, Preparation
from magicmind.zoo.recipe import Dim
from magicmind.zoo.tasks.task import Item
from magicmind.zoo.workspace import Request

LOG = logging.getLogger("magicmind")


@dataclass(frozen=True)
class BuildOptions:
    """target, tune: as of `magicmind.build`. count: of calibration pictures, None for the sample's own."""

    target: str = "native"
    tune: float | None = None
    count: int | None = None


DEFAULT = BuildOptions()


def build(request: Request, data: Dataset | None, options: BuildOptions = DEFAULT, report: Report = quiet) -> Path:
    """Builds and writes the model of a request, and returns its file.

    data: pictures that scales come from, for the q* modes.
    Raises Error.
    """
    graph = image_graph(request)
    arguments: dict[str, Any] = {}
    mode = mode_of(request.precision)
    if mode.bits:
        arguments["calibration"] = calibration_data(request, graph, data, options.count)
        arguments["layers"] = {p: mode.unquantised.name for p in request.sample.layers}
        arguments["computation_preference"] = request.sample.computation_preference
    with magicmind.build(
        graph,
        precision=request.precision,
        targets=[options.target],
        threads=request.threads,
        tune=options.tune,
        progress=report,
        **arguments,
    ) as model:
        request.model.parent.mkdir(parents=True, exist_ok=True)
        model.save(request.model)
    return request.model


def image_graph(request: Request) -> magicmind.Graph:
    """The sample's network for pictures as NHWC: uint8 where it normalises them itself, else float32."""
    sample = request.sample
    batch, height, width, channels = input_shape(request)
    shape = (batch, height, width, channels) if sample.channels_last else (batch, channels, height, width)
    graph = sample.source.parse(source_files(request), {"input_shapes": [shape]})
    return for_pictures(graph, request.preparation, channels_last=sample.channels_last)


def input_shape(request: Request) -> tuple[Dim, Dim, Dim, Dim]:
    """[N, H, W, 3] with ranges where the model is mutable. Raises Error for a batch that it cannot have."""
    sample = request.sample
    limits = sample.batches
    request.require_batch()
    height, width = sample.shape
    if not request.mutable:
        return request.batch, height, width, 3
    height, width = sample.mutable_shape or sample.shape
    return 1 if limits is None else f"{limits[0]}..{limits[1]}", height, width, 3


def calibration_data(request: Request, graph: magicmind.Graph, data: Dataset | None, count: int | None) -> Any:
    """Batches of prepared pictures as calibration reads them. Raises Error where there are too few."""
    how = request.calibration
    number = how.count or request.batch if count is None else count
    if data is None:
        raise Error(f"{request.precision} needs pictures to calibrate with", hint="give a data set")
    batch = 1 if request.mutable else request.batch
    # Where normalisation is part of the model, calibration pictures pass through it as well: they match inference.
    pictures = _readable(data.items[: max(number, batch)], how.preparation or request.preparation)
    if len(pictures) < batch:
        raise Error(f"calibrating a batch of {batch} needs as many pictures; there are {len(pictures)} to be read")
    name = graph.inputs[0].name
    starts = range(0, len(pictures) - batch + 1, batch)
    return [{name: np.ascontiguousarray(np.stack(pictures[start : start + batch]))} for start in starts]


def _readable(items: Sequence[Item], preparation: Preparation) -> list[Array]:
    """The pictures, prepared; those that cannot be read are reported and left out."""
    pictures = []
    for item in items:
        try:
            pictures.append(preparation(item.path).pixels)
        except BrokenImage as error:
            LOG.warning("left out of the calibration: %s", error)
    return pictures
