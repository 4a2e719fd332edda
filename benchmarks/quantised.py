"""The int8 network that the peers run: Q/DQ by onnxruntime's static quantiser, per channel, symmetric weights.

Calibrated on seeded samples shaped like the measured inputs, which our own build gets too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter

COUNT = 8
"""Calibration samples. The weights are random, so more say nothing more."""

PER_CHANNEL_OPSET = 13
"""The first whose Q/DQ operators have a scale per channel."""


def samples(feeds: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Other inputs of the same shapes, one image or sequence each."""
    rng = np.random.default_rng(1)
    for _ in range(COUNT):
        yield {name: rng.standard_normal(array.shape, dtype=np.float32) for name, array in feeds.items()}


def ensure(path: Path, feeds: dict[str, np.ndarray]) -> Path:
    """The quantised network beside the float one; made on first use, whole or not at all."""
    batch = next(iter(feeds.values())).shape[0]
    made = path.with_name(f"{path.stem}.qdq-{batch}.onnx")
    if not made.exists():
        part = made.with_suffix(".part")
        _quantise(path, feeds, part)
        part.replace(made)
    return made


def _quantise(path: Path, feeds: dict[str, np.ndarray], to: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = samples(feeds)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    prepared = to.with_suffix(".prepared")
    onnx.save(_with_scales_per_channel(onnx.load(path)), prepared)
    quant_pre_process(prepared, prepared, skip_symbolic_shape=True)  # folds normalisation, as its guide asks
    quantize_static(
        prepared,
        to,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()


def _with_scales_per_channel(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in an opset whose DequantizeLinear has an axis, which the quantiser takes for granted."""
    (opset,) = (o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return model if opset >= PER_CHANNEL_OPSET else version_converter.convert_version(model, PER_CHANNEL_OPSET)
