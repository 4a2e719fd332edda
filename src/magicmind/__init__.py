"""MagicMind for CPUs: parse a trained network, build an offline model of native code, run it anywhere with numpy.

    graph = magicmind.parse("model.onnx")
    model = magicmind.build(graph, shapes={"x": ("1..64", 3, 224, 224)})
    model.save("model.mm")
    outputs = magicmind.load("model.mm").session(threads=2).run({"x": array})

Importing is cheap: each name loads what it needs on first use, and running a model needs numpy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from magicmind.errors import (
    CompileError,
    Error,
    MissingExtraError,
    ModelFormatError,
    OfflineModelError,
    PrecisionError,
    RemoteError,
    ScheduleError,
    ShapeError,
    TargetError,
    UnsupportedOperatorError,
)
from magicmind.tensorinfo import TensorInfo

if TYPE_CHECKING:
    from magicmind.compiler import build, calibrate, export_qdq
    from magicmind.frontends import parse
    from magicmind.graph import Graph
    from magicmind.quant.accuracy import AccuracyTarget
    from magicmind.quant.quantise import Quantisation
    from magicmind.quant.samples import Images, Preprocessing
    from magicmind.quant.table import Scales
    from magicmind.runtime import Engine, Model, Session, load

__version__ = "0.1.0"

__all__ = [
    "AccuracyTarget",
    "CompileError",
    "Engine",
    "Error",
    "Graph",
    "Images",
    "MissingExtraError",
    "Model",
    "ModelFormatError",
    "OfflineModelError",
    "PrecisionError",
    "Preprocessing",
    "Quantisation",
    "RemoteError",
    "Scales",
    "ScheduleError",
    "Session",
    "ShapeError",
    "TargetError",
    "TensorInfo",
    "UnsupportedOperatorError",
    "build",
    "calibrate",
    "export_qdq",
    "load",
    "parse",
]

_LAZY = {
    "build": "magicmind.compiler",
    "calibrate": "magicmind.compiler",
    "export_qdq": "magicmind.compiler",
    "AccuracyTarget": "magicmind.quant.accuracy",
    "Images": "magicmind.quant.samples",
    "Preprocessing": "magicmind.quant.samples",
    "Quantisation": "magicmind.quant.quantise",
    "Scales": "magicmind.quant.table",
    "parse": "magicmind.frontends",
    "Graph": "magicmind.graph",
    "Engine": "magicmind.runtime",
    "Model": "magicmind.runtime",
    "Session": "magicmind.runtime",
    "load": "magicmind.runtime",
}
_BUILD_PACKAGES = ("onnx", "onnx_ir", "llvmlite", "rich")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'magicmind' has no attribute {name!r}")
    try:
        value = getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _BUILD_PACKAGES:
            raise
        raise MissingExtraError(
            f"magicmind.{name} needs the package {error.name!r}, which is not installed",
            hint="pip install 'magicmind[build]'",
        ) from error
    globals()[name] = value
    return value
