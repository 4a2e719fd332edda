"""The enumerations: the same objects as in `magicmind.python.runtime`."""

from magicmind.facade.enums import (
    DataType,
    IActivation,
    IDetectionOutputAlgo,
    IElementwise,
    ILog,
    ILogic,
    INmsType,
    IOutputMode,
    IPaddingMode,
    IReduce,
    IRNNBiasMode,
    IRNNOutputMode,
    IScatter,
    IUnpoolMode,
    Layout,
    ModelKind,
    QuantizationAlgorithm,
    RoundingMode,
    TensorLocation,
)
from magicmind.facade.status import Code

__all__ = [
    "Code", "DataType", "IActivation", "IDetectionOutputAlgo", "IElementwise", "ILog", "ILogic", "INmsType",
    "IOutputMode", "IPaddingMode", "IRNNBiasMode", "IRNNOutputMode", "IReduce", "IScatter", "IUnpoolMode", "Layout",
    "ModelKind", "QuantizationAlgorithm", "RoundingMode", "TensorLocation",
]  # fmt: skip
