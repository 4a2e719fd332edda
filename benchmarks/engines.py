"""The engines under test behind one small interface.

Each is set up as its users set it up: the thread count and the precision are fixed, everything else is the
engine's default. An engine's package is imported by the worker process of that engine only.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import quantised

if TYPE_CHECKING:
    import magicmind

from magicmind.zoo.peers import OnnxRuntime, OpenVino, Peer

Feeds = dict[str, np.ndarray]


class MagicMind(Peer):
    """Ours, from a model file built for exactly the measured shapes; a file that is no ONNX is one already."""

    def __init__(self, path: Path, feeds: Feeds, threads: int) -> None:
        import magicmind

        self.model = magicmind.load(path) if path.suffix != ".onnx" else self.built(path, feeds, threads)
        self.session = self.model.session(threads=threads)

    def built(self, path: Path, feeds: Feeds, threads: int) -> magicmind.Model:
        import magicmind

        shapes = {name: array.shape for name, array in feeds.items()}
        return magicmind.build(magicmind.parse(path), shapes=shapes, threads=threads)

    def run(self, feeds: Feeds) -> list[np.ndarray]:
        return list(self.session.run(feeds).values())


class MagicMindMutable(MagicMind):
    """Ours, from a model file that leaves open what the source leaves open: the batch up to 64, and extents."""

    def built(self, path: Path, feeds: Feeds, threads: int) -> magicmind.Model:
        import magicmind

        shapes = {name: open_dims(path, name, array.shape) for name, array in feeds.items()}
        return magicmind.build(magicmind.parse(path), shapes=shapes, threads=threads)


def open_dims(path: Path, name: str, shape: tuple[int, ...]) -> tuple[int | str, ...]:
    """`shape` with a range for the batch (axis 0, whatever the source says) and for every dim the source names."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    (value,) = (v for v in graph.input if v.name == name)
    named = [d.dim_param for d in value.type.tensor_type.shape.dim]
    rest = [f"{dim}=1.." if dim else size for dim, size in zip(named[1:], shape[1:], strict=True)]
    return ("batch=1..64", *rest)


class MagicMindHalf(MagicMind):
    """Ours in float16."""

    def built(self, path: Path, feeds: Feeds, threads: int) -> magicmind.Model:
        import magicmind

        shapes = {name: array.shape for name, array in feeds.items()}
        return magicmind.build(magicmind.parse(path), precision="force_float16", shapes=shapes, threads=threads)


class MagicMindInt8(MagicMind):
    """Ours in int8, from our own calibration on the data that the peers' quantiser gets."""

    def built(self, path: Path, feeds: Feeds, threads: int) -> magicmind.Model:
        import magicmind

        return magicmind.build(
            magicmind.parse(path),
            precision="qint8_mixed_float32",
            calibration=quantised.samples(feeds),
            shapes={name: array.shape for name, array in feeds.items()},
            threads=threads,
        )


class OnnxRuntimeInt8(OnnxRuntime):
    """onnxruntime on the Q/DQ network of its own static quantiser."""

    def __init__(self, path: Path, feeds: Feeds, threads: int) -> None:
        super().__init__(quantised.ensure(path, feeds), feeds, threads)


class OpenVinoInt8(OpenVino):
    """OpenVINO on the same Q/DQ network."""

    def __init__(self, path: Path, feeds: Feeds, threads: int) -> None:
        super().__init__(quantised.ensure(path, feeds), feeds, threads)


HALF, INT8 = "-half", "-int8"
"""What the name of an engine ends in where it runs another precision than float32."""

ENGINES: dict[str, type[Peer]] = {
    "magicmind": MagicMind,
    "magicmind-mutable": MagicMindMutable,
    "magicmind-half": MagicMindHalf,
    "magicmind-int8": MagicMindInt8,
    "onnxruntime": OnnxRuntime,
    "onnxruntime-int8": OnnxRuntimeInt8,
    "openvino": OpenVino,
    "openvino-int8": OpenVinoInt8,
}
PEERS = ("onnxruntime", "openvino")
REFERENCE = "onnxruntime"
"""Outputs of the others are compared with this engine's."""


def time_calls(engine: Peer, feeds: Feeds, seconds: float, at_least: int) -> list[float]:
    """Wall-clock seconds of single calls, for `seconds` and at least that many calls."""
    samples: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(samples) < at_least or time.perf_counter() < deadline:
        start = time.perf_counter()
        engine.run(feeds)
        samples.append(time.perf_counter() - start)
    return samples
