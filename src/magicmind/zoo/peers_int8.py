"""The int8 network that other engines run: Q/DQ by onnxruntime's static quantiser, per channel, symmetric weights."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import Error

PER_CHANNEL_OPSET = 13
"""The first whose Q/DQ operators have a scale per channel."""

Array = np.ndarray[Any, np.dtype[Any]]


def quantise(network: Path, to: Path, batches: Iterable[Mapping[str, Array]]) -> Path:
    """Writes the quantised ONNX file, whole or not at all, unless it is there and no older than its source.

    batches: calibration data by input name. Raises Error where onnxruntime is missing or cannot do it.
    """
    if to.exists() and to.stat().st_mtime_ns >= network.stat().st_mtime_ns:
        return to
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        draft = Path(folder) / to.name
        try:
            _quantise(network, Path(folder) / "prepared.onnx", draft, batches)
        except Exception as error:  # what its passes raise has no common base
            raise Error(
                f"onnxruntime cannot quantise {network.name}: {type(error).__name__}: {error}",
                hint="pip install 'magicmind[bench]'",
            ) from error
        os.replace(draft, to)
    return to


def _quantise(network: Path, prepared: Path, to: Path, batches: Iterable[Mapping[str, Array]]) -> None:
    import onnx
    from onnxruntime import set_default_logger_severity
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self.left, None)

    set_default_logger_severity(3)  # it warns of every constant that its own folding leaves over
    model = _with_scales_per_channel(onnx.load(network))
    _resize_all_axes(model)
    onnx.save(model, prepared)
    quant_pre_process(prepared, prepared, skip_symbolic_shape=True)  # folds normalisation, as its guide asks
    with _quiet_root_logger():
        quantize_static(
            prepared,
            to,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """The quantiser warns of every convolution without a bias, by the root logger's own functions."""

    def errors_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    root = logging.getLogger()
    root.addFilter(errors_only)
    try:
        yield
    finally:
        root.removeFilter(errors_only)


def _with_scales_per_channel(model: Any) -> Any:
    """The model in an opset whose DequantizeLinear has an axis, which the quantiser takes for granted."""
    from onnx import version_converter

    (opset,) = (o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return model if opset >= PER_CHANNEL_OPSET else version_converter.convert_version(model, PER_CHANNEL_OPSET)


def _resize_all_axes(model: Any) -> None:
    """Sizes for all axes where a Resize names some: onnxruntime's int8 networks become NHWC, and lose the others."""
    from onnx import numpy_helper, shape_inference

    inferred = shape_inference.infer_shapes(model).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.value_info}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        axes = [a for a in node.attribute if a.name == "axes"]
        shape = shapes.get(node.input[0], []) if node.op_type == "Resize" else []
        if not axes or not shape or 0 in shape or len(node.input) < 4 or node.input[3] not in constants:
            continue
        sizes = np.array(shape, np.int64)
        sizes[list(axes[0].ints)] = numpy_helper.to_array(constants[node.input[3]])
        node.input[3] = f"{node.name}.all_sizes"
        model.graph.initializer.append(numpy_helper.from_array(sizes, node.input[3]))
        node.attribute.remove(axes[0])
