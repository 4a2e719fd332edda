"""Caffe networks by OpenCV's dnn module (4.x; version 5 has no Caffe importer)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from magicmind.errors import Error, MissingExtraError
from magicmind.frameworks import Array
from magicmind.frontends.caffe.prototxt import State, read_prototxt


def evaluate(path: Path, options: Mapping[str, Any], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every blob by name, as the last layer that writes it leaves it."""
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise MissingExtraError(
            f"OpenCV {cv2.__version__} has no Caffe importer", hint="pip install 'opencv-python-headless<5'"
        )
    prototxt = Path(options.get("prototxt") or path)
    caffemodel = Path(options.get("caffemodel") or path)
    try:
        net = cv2.dnn.readNetFromCaffe(str(prototxt), str(caffemodel))
        net.enableFusion(False)  # fused layers would show what is behind them
        for name, array in feeds.items():
            net.setInput(np.ascontiguousarray(array), name)
        writers = _writers(prototxt, set(net.getLayerNames()))
        found = net.forward(list(writers.values()))
    except cv2.error as error:
        raise Error(f"OpenCV cannot run {prototxt}: {' '.join(str(error).split())}") from error
    return {blob: np.array(array) for blob, array in zip(writers, found, strict=True)}


def _writers(prototxt: Path, known: set[str]) -> dict[str, str]:
    """Blob -> the last layer whose only or first top it is; OpenCV names results after layers."""
    layers = read_prototxt(prototxt, State("TEST", 0, ())).layers
    return {str(layer.top[0]): str(layer.name) for layer in layers if layer.top and layer.name in known}
