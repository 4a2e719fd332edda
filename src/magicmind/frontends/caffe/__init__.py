"""Caffe: a prototxt (the network) and a caffemodel (its weights)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from magicmind.errors import ModelFormatError
from magicmind.frontends.caffe.prototxt import State, read_prototxt
from magicmind.frontends.caffe.source import CaffeSource
from magicmind.frontends.caffe.weights import read_weights
from magicmind.graph import SourceGraph
from magicmind.ir.shape_spec import ShapeSpecs


def read_caffe(
    source: str | os.PathLike[str],
    *,
    prototxt: str | os.PathLike[str] | None = None,
    caffemodel: str | os.PathLike[str] | None = None,
    input_shapes: ShapeSpecs | None = None,
    outputs: Sequence[str] | None = None,
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
) -> SourceGraph:
    """The graph of a Caffe network.

    `source` is either of the two files, the other is given by name. `outputs` are names of blobs (default: those that
    no layer reads). `phase`, `level` and `stages` are what the layers' include and exclude rules are judged by.
    Raises ModelFormatError, ShapeError, UnsupportedOperatorError.
    """
    path = Path(source)
    if path.suffix.lower() == ".caffemodel":
        caffemodel = source
    else:
        prototxt = source
    if prototxt is None:
        raise ModelFormatError(f"{path}: a caffemodel holds weights only", hint='give its network: prototxt="..."')
    if caffemodel is None:
        raise ModelFormatError(f"{path}: a prototxt has no weights", hint='give them: caffemodel="..."')
    if phase not in ("TEST", "TRAIN"):
        raise ModelFormatError(f"phase {phase!r} does not exist", hint='it is "TEST" or "TRAIN"')
    net = read_prototxt(Path(prototxt), State(phase, level, tuple(stages)))
    return SourceGraph.of(CaffeSource(net, read_weights(Path(caffemodel)), outputs), input_shapes)
