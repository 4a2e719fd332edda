"""What a sample is: one frozen record that says where a network comes from and how it is used.

A new one is a module in `zoo/samples` with a `SAMPLE`; everything that samples do is written once, beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from magicmind.zoo.preparation import Preparation
from magicmind.zoo.sources import Source
from magicmind.zoo.tasks.task import Task

Dim = int | str


@dataclass(frozen=True)
class Calibration:
    """count: pictures, the first of the list; 0 means as many as the batch. preparation: where it is another one."""

    count: int = 10
    preparation: Preparation | None = None


@dataclass(frozen=True)
class Reference:
    """How the published figures came about where that is not the right thing: `--compat` asks for it."""

    what: str
    """One sentence for users."""
    preparation: Preparation | None = None
    calibration: Calibration | None = None
    task: Task | None = None


@dataclass(frozen=True)
class Published:
    """A published row: `figures` by name, such as top1 or qps; -1 as batch where it does not matter."""

    precision: str
    batch: int
    board: str
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Sample:
    """A network and its use.

    shape: of one picture, [H, W], as built; ranges where mutable models let them vary (`mutable`).
    model_file, output_folder: below the sample's data folder, with {precision}, {mutable}, {batch}, and {fixed_batch},
        which is empty for mutable models.
    arguments: of the build script, in the order the sample has them, and their defaults.
    layers: modes of layers that the sample keeps out of the integers in every q* mode, by pattern.
    """

    name: str
    title: str
    licence: str
    source: Source
    task: Task
    dataset: str
    shape: tuple[Dim, Dim]
    preparation: Preparation
    model_file: str
    output_folder: str
    location: str = ""
    """Where the collection keeps it, for users who come from there."""
    batches: tuple[int, int] | None = (1, 64)
    """What a mutable batch may be; None where the network has one picture only."""
    mutable_shape: tuple[Dim, Dim] | None = None
    """Instead of `shape`, in mutable models."""
    fixed_preparation: Preparation | None = None
    """Instead of `preparation`, for models that are not mutable, where the size of pictures is what may vary."""
    channels_last: bool = False
    """Whether the source itself takes NHWC."""
    calibration: Calibration = Calibration()
    reference: Reference | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    computation_preference: str = "auto"
    accuracy: tuple[Published, ...] = ()
    throughput: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()
    defaults: Mapping[str, str | int | bool] = field(default_factory=dict)
    """precision, mutable, batch and image_num of the one command that does everything."""
