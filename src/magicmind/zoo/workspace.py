"""What a user asked of a sample, and where the sample's files are.

Below the root (PROJ_ROOT_PATH, else `magicmind-zoo/NAME`): `data/models`, `data/output`, ... as the sample has them;
with random weights the same below `data-random`, so that nothing of the two is mixed up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from magicmind.errors import Error
from magicmind.quant.precision import mode_of
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Calibration, Sample
from magicmind.zoo.tasks.task import Task

PUBLISHED, RANDOM = "published", "random"


@dataclass(frozen=True)
class Request:
    """A sample, and how it is to be built and run. `files` are the user's own, by their names in the recipe."""

    sample: Sample
    precision: str = "force_float32"
    mutable: bool = False
    batch: int = 1
    weights: str = PUBLISHED
    seed: int = 0
    compat: bool = False
    root: Path | None = None
    threads: int | None = None
    files: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", mode_of(self.precision).name)

    def require_batch(self) -> None:
        """Raises Error for a batch that the network cannot have."""
        limits = self.sample.batches
        if limits is None and self.batch != 1:
            raise Error(f"{self.sample.name} takes one picture a call, not {self.batch}", hint="--batch-size 1")
        if limits is not None and not limits[0] <= self.batch <= limits[1]:
            raise Error(f"{self.sample.name} takes batches of {limits[0]} to {limits[1]}, not {self.batch}")

    @property
    def spelled(self) -> str:
        """The options that ask for the same model."""
        options = {"--precision": self.precision, "--shape-mutable": "true" if self.mutable else "false"}
        options |= {"--batch-size": str(self.batch)} if self.sample.batches else {}
        options |= {"--weights": self.weights} if self.weights != PUBLISHED else {}
        options |= {"--root": str(self.root)} if self.root else {}
        return " ".join(f"{key} {value}" for key, value in options.items()) + (" --compat" if self.compat else "")

    @property
    def data(self) -> Path:
        """The folder of the sample's data."""
        named = os.environ.get("PROJ_ROOT_PATH")
        root = self.root or (Path(named) if named else Path("magicmind-zoo") / self.sample.name)
        return root / ("data" if self.weights == PUBLISHED else "data-random")

    @property
    def models(self) -> Path:
        """The folder of the network's own files."""
        return self.data / "models"

    @property
    def model(self) -> Path:
        """The built model's file."""
        return self.data / self._named(self.sample.model_file)

    @property
    def output(self) -> Path:
        """The folder of results."""
        return self.data / self._named(self.sample.output_folder)

    @property
    def variant(self) -> str:
        """What the files of this request are called."""
        return Path(self._named(self.sample.output_folder)).name

    def _named(self, template: str) -> str:
        mutable = "true" if self.mutable else "false"
        fixed = "" if self.mutable else f"_{self.batch}"
        found = template.format(precision=self.precision, mutable=mutable, batch=self.batch, fixed_batch=fixed)
        return f"{found}_compat" if self.compat and self.sample.reference else found

    @property
    def preparation(self) -> Preparation:
        """How pictures are prepared for the model."""
        reference = self.sample.reference
        if self.compat and reference is not None and reference.preparation is not None:
            return reference.preparation
        if not self.mutable and self.sample.fixed_preparation is not None:
            return self.sample.fixed_preparation
        return self.sample.preparation

    @property
    def calibration(self) -> Calibration:
        """Which pictures scales come from."""
        reference = self.sample.reference
        if self.compat and reference is not None and reference.calibration is not None:
            return reference.calibration
        return self.sample.calibration

    @property
    def task(self) -> Task:
        """What is made of the outputs."""
        reference = self.sample.reference
        if self.compat and reference is not None and reference.task is not None:
            return reference.task
        return self.sample.task

    @property
    def batches(self) -> Iterable[int]:
        """The batches that benchmarks have figures of."""
        return (1,) if self.sample.batches is None else (1, 4, 8)
