"""Where the networks of the samples come from, framework by framework: downloads, random weights, and how to parse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import magicmind
from magicmind.errors import MissingExtraError
from magicmind.zoo import files
from magicmind.zoo.fetch import Download

Ends = Mapping[str, Any]
"""Options of `magicmind.parse` about the ends of the network."""


class Source(Protocol):
    """A network as its framework has it."""

    @property
    def framework(self) -> str:
        """Its name."""
        ...

    @property
    def downloads(self) -> tuple[Download, ...]:
        """What is published."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """The files that `parse` reads, the one that stands for the network first."""
        ...

    def make_random(self, folder: Path, seed: int) -> None:
        """Writes the files with random weights."""
        ...

    def convert(self, folder: Path) -> None:
        """Makes the files of what was downloaded, where these are not the same."""
        ...

    def parse(self, files: Mapping[str, Path], shapes: Ends) -> magicmind.Graph:
        """The graph of files by their names in `files`."""
        ...


def _function(path: str) -> Any:
    """`module:name` below zoo/networks, imported when it is needed."""
    module, _, name = path.partition(":")
    return getattr(import_module(f"magicmind.zoo.networks.{module}"), name)


@dataclass(frozen=True)
class Caffe:
    """Prototxt and caffemodel; `random` names the function that makes both."""

    prototxt: Download
    caffemodel: Download
    random: str = ""
    framework: str = "caffe"

    @property
    def downloads(self) -> tuple[Download, ...]:
        return self.caffemodel, self.prototxt

    @property
    def files(self) -> tuple[str, ...]:
        return self.caffemodel.name, self.prototxt.name

    def make_random(self, folder: Path, seed: int) -> None:
        text, weights = _function(self.random)(seed)
        files.write(folder / self.prototxt.name, text.encode())
        files.write(folder / self.caffemodel.name, weights)

    def convert(self, folder: Path) -> None:
        """Nothing is to be done."""

    def parse(self, files: Mapping[str, Path], shapes: Ends) -> magicmind.Graph:
        return magicmind.parse(files[self.caffemodel.name], prototxt=files[self.prototxt.name], **shapes)


@dataclass(frozen=True)
class Onnx:
    """One file."""

    file: Download
    random: str = ""
    framework: str = "onnx"

    @property
    def downloads(self) -> tuple[Download, ...]:
        return (self.file,)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file.name,)

    def make_random(self, folder: Path, seed: int) -> None:
        model = _function(self.random)(seed=seed)
        files.write(folder / self.file.name, model.SerializeToString(deterministic=True))

    def convert(self, folder: Path) -> None:
        """Nothing is to be done."""

    def parse(self, files: Mapping[str, Path], shapes: Ends) -> magicmind.Graph:
        return magicmind.parse(files[self.file.name], **shapes)


@dataclass(frozen=True)
class TensorFlow:
    """A frozen graph, and the outputs that are used."""

    file: Download
    outputs: tuple[str, ...]
    random: str = ""
    framework: str = "tensorflow"

    @property
    def downloads(self) -> tuple[Download, ...]:
        return (self.file,)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file.name,)

    def make_random(self, folder: Path, seed: int) -> None:
        files.write(folder / self.file.name, _function(self.random)(seed))

    def convert(self, folder: Path) -> None:
        """Nothing is to be done."""

    def parse(self, files: Mapping[str, Path], shapes: Ends) -> magicmind.Graph:
        return magicmind.parse(files[self.file.name], outputs=list(self.outputs), **shapes)


@dataclass(frozen=True)
class PyTorch:
    """A checkpoint for a network of ours (`make` names its function), traced with inputs of `shape` into `traced`."""

    checkpoint: Download
    traced: str
    make: str
    shape: tuple[int, ...]
    outputs: tuple[str, ...] = ()
    framework: str = "pytorch"

    @property
    def downloads(self) -> tuple[Download, ...]:
        return (self.checkpoint,)

    @property
    def files(self) -> tuple[str, ...]:
        return (self.traced,)

    def make_random(self, folder: Path, seed: int) -> None:
        tracing = self._tracing()
        net = tracing.randomise(_function(self.make), seed, self.shape)
        tracing.trace(net, self.shape, folder / self.traced)

    def convert(self, folder: Path) -> None:
        tracing = self._tracing()
        net = _function(self.make)()
        tracing.load_checkpoint(net, folder / self.checkpoint.name)
        tracing.trace(net, self.shape, folder / self.traced)

    def parse(self, files: Mapping[str, Path], shapes: Ends) -> magicmind.Graph:
        names = {"output_names": list(self.outputs)} if self.outputs else {}
        return magicmind.parse(files[self.traced], **shapes, **names)

    def _tracing(self) -> Any:
        try:
            return import_module("magicmind.zoo.networks.tracing")
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingExtraError(
                f"making {self.traced} needs PyTorch",
                hint="pip install torch==2.13.* --index-url https://download.pytorch.org/whl/cpu",
            ) from error
