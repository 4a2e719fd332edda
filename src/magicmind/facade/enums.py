"""The enumerations of the API, and numpy's dtypes by their names in it."""

from __future__ import annotations

from enum import Enum
from reprlib import repr as shortened
from typing import Any

import numpy as np
import numpy.typing as npt


class DataType(Enum):
    """Types of tensors. FLOAT and HALF are what command lines call two of them."""

    FLOAT16 = "FLOAT16"
    FLOAT32 = "FLOAT32"
    FLOAT64 = "FLOAT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    BOOL = "BOOL"
    QINT8 = "QINT8"
    QINT16 = "QINT16"
    TENSORLIST = "TENSORLIST"
    HALF = "FLOAT16"
    FLOAT = "FLOAT32"

    def __str__(self) -> str:
        return f"DataType.{self.value}"


class ModelKind(Enum):
    """Frameworks."""

    kCaffe = "caffe"
    kOnnx = "onnx"
    kPytorch = "pytorch"
    kTensorflow = "tensorflow"


class Layout(Enum):
    """How the axes of a tensor are ordered. ARRAY is the newer name of NONE."""

    NONE = "NONE"
    ARRAY = "NONE"
    NCHW = "NCHW"
    NHWC = "NHWC"
    NCT = "NCT"
    NTC = "NTC"
    NCDHW = "NCDHW"
    NDHWC = "NDHWC"
    HWCN = "HWCN"
    TNC = "TNC"
    TN = "TN"


class QuantizationAlgorithm(Enum):
    """How calibration finds ranges."""

    INVALID = ""
    LINEAR_ALGORITHM = "linear"
    EQNM_ALGORITHM = "eqnm"


class TensorLocation(Enum):
    """Where a tensor's memory is; here it always is the host's."""

    kHost = "host"
    kMLU = "mlu"
    kRemoteHost = "remote host"
    kRemoteMLU = "remote mlu"


def _names(name: str, members: str) -> Any:
    """An enumeration whose members' values are their names."""
    return Enum(name, {member: member for member in members.split()}, module=__name__)


IDetectionOutputAlgo = _names("IDetectionOutputAlgo", "YOLOV2 YOLOV3 YOLOV4 YOLOV5 FASTERRCNN SSD REFINEDET")
INmsType = _names("INmsType", "IOU_NMS DIOU_NMS")
IReduce = _names("IReduce", "ADD MEAN MAX MIN MUL AND OR NORM1 NORM2 SUMSQ")
ILogic = _names("ILogic", "LT LE GT GE EQ NE AND OR XOR NOT")
IActivation = _names("IActivation", "RELU SIGMOID TANH")
IElementwise = _names("IElementwise", "ADD SUB MUL")
IPaddingMode = _names("IPaddingMode", "EXPLICIT SAME VALID")
IUnpoolMode = _names("IUnpoolMode", "MAX")
ILog = _names("ILog", "LOG_E LOG_2 LOG_10")
IScatter = _names("IScatter", "SCATTER SCATTER_ADD SCATTER_MAX SCATTER_MIN SCATTER_MUL")
IRNNBiasMode = _names("IRNNBiasMode", "NO_BIAS SINGLE_INP_BIAS DOUBLE_BIAS")
IRNNOutputMode = _names("IRNNOutputMode", "HAS_OUT_LAYER NO_OUT_LAYER")
IOutputMode = _names(
    "IOutputMode",
    "OUTPUT_TARGET_INDICES OUTPUT_TARGET_CONFIDENCE_AND_POS_1 OUTPUT_TARGET_CONFIDENCE_AND_POS_2 "
    "OUTPUT_TARGET_BATCH_AND_CLASS",
)
RoundingMode = _names("RoundingMode", "ROUND_HALF_TO_EVEN")

_NUMPY: dict[DataType, np.dtype[Any]] = {
    t: np.dtype(t.value.lower().removeprefix("q")) for t in DataType if t is not DataType.TENSORLIST
}
_TYPES = {dtype: t for t, dtype in reversed(_NUMPY.items()) if not t.value.startswith("Q")}


def get_numpy_dtype_by_datatype(data_type: DataType) -> np.dtype[Any]:
    """The dtype of numpy arrays of this type.  Raises TypeError for what has none."""
    try:
        return _NUMPY[data_type]
    except (KeyError, TypeError):
        raise TypeError(f"{shortened(data_type)} is no DataType of arrays") from None


def get_datatype_by_numpy(dtype: npt.DTypeLike) -> DataType:
    """The DataType of arrays of this dtype, or of numbers of a scalar type.  Raises TypeError for what has none."""
    found = _TYPES.get(np.dtype(dtype))
    if found is None:
        raise TypeError(f"arrays of {np.dtype(dtype)} have no DataType")
    return found
