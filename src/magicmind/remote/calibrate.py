"""Calibration on a remote server: as `magicmind.calibrate`, but the network runs there.

The network is simplified here, so its tensors have the names that a build here looks for, and sent once. Then the
server asks for one sample after another, one ahead of the one that it runs; it answers with the scales.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

import onnx_ir

from magicmind.errors import Error, PrecisionError
from magicmind.graph import Graph
from magicmind.ir.shape_spec import ShapeSpecs
from magicmind.quant.observe import Progress
from magicmind.quant.quantise import Quantisation, simplified
from magicmind.quant.samples import Data, Sample, samples_of
from magicmind.quant.table import Scales
from magicmind.remote import protocol
from magicmind.remote.connection import Connection
from magicmind.remote.protocol import Frame

DEFAULT = Quantisation()


def _quiet(what: str, done: int, total: int) -> None:
    """The default progress: none."""


def calibrate(
    address: str,
    graph: Graph,
    data: Data,
    quantisation: Quantisation = DEFAULT,
    *,
    shapes: ShapeSpecs | None = None,
    progress: Progress = _quiet,
) -> Scales:
    """The scales of `graph`, measured by the server at `address` (host:port). Samples are read and sent one at a time.

    Raises as `magicmind.calibrate`, and RemoteError.
    """
    if not isinstance(graph, Graph):
        raise PrecisionError(f"calibrate takes a graph, not {graph!r:.60}")
    model = simplified(graph.with_shapes(shapes or {}).model)
    samples = samples_of(data, Graph(model.clone()).inputs)
    with Connection(address) as connection:
        sender = _Sender(iter(samples.items), progress, samples.total)
        proto = onnx_ir.to_proto(model).SerializeToString()
        head = {"bytes": len(proto), "quantisation": asdict(quantisation), "samples": samples.total}
        first = chain([protocol.encode(head)], protocol.pieces(proto))
        done = connection.converse(protocol.CALIBRATE, first, sender.answer)
        try:
            found = Scales.of_json(json.loads(bytes(done.payload)))
        except (PrecisionError, TypeError, ValueError, AttributeError, KeyError, RecursionError) as error:
            raise connection.misunderstood(error) from error
    return replace(found, random=samples.random, data=samples.data)


class _Sender:
    """Answers `next` with a sample, then with `end`; passes progress on."""

    def __init__(self, samples: Iterator[Sample], progress: Progress, total: int) -> None:
        self._samples, self._progress, self._total = samples, progress, total
        self._sent = 0

    def answer(self, frame: Frame) -> bytes | None:
        kind = frame.header.get("kind")
        if kind == "progress":
            self._progress(str(frame.header.get("what")), *_counts(frame))
        if kind != "next":
            return None
        sample: Any = next(self._samples, None)
        if sample is None:
            return protocol.encode({"kind": "end"})
        self._sent += 1
        where = f"calibration sample {self._sent}"
        if not isinstance(sample, Mapping):
            hint = "calibration data are dicts from input name to array"
            raise PrecisionError(f"{where} is {type(sample).__name__}", hint=hint)
        try:
            return protocol.encode({"kind": "sample"}, {str(name): array for name, array in sample.items()})
        except (Error, TypeError, ValueError) as error:
            raise PrecisionError(f"{where}: {error}") from error


def _counts(frame: Frame) -> tuple[int, int]:
    try:
        return frame.count("done", 1 << 48), frame.count("total", 1 << 48)
    except protocol.MalformedError:
        return 0, 0
