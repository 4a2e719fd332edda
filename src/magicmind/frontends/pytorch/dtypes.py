"""Element types: PyTorch's, with their numbers in files, and the graph's."""

from __future__ import annotations

import onnx_ir
import torch

from magicmind.errors import UnsupportedOperatorError

_D = onnx_ir.DataType

# In the order of c10/core/ScalarType.h: TorchScript writes a dtype as its number there.
_NUMBERED: list[tuple[torch.dtype | None, onnx_ir.DataType | None]] = [
    (torch.uint8, _D.UINT8),
    (torch.int8, _D.INT8),
    (torch.int16, _D.INT16),
    (torch.int32, _D.INT32),
    (torch.int64, _D.INT64),
    (torch.float16, _D.FLOAT16),
    (torch.float32, _D.FLOAT),
    (torch.float64, _D.DOUBLE),
    (torch.complex32, None),
    (torch.complex64, _D.COMPLEX64),
    (torch.complex128, _D.COMPLEX128),
    (torch.bool, _D.BOOL),
    (torch.qint8, None),
    (torch.quint8, None),
    (torch.qint32, None),
    (torch.bfloat16, _D.BFLOAT16),
]
_TO_ONNX = {t: o for t, o in _NUMBERED if t is not None and o is not None}
_TO_TORCH = {o: t for t, o in _TO_ONNX.items()}


def torch_dtype(dtype: int | torch.dtype) -> torch.dtype:
    """PyTorch's dtype, from itself or its number.  Raises UnsupportedOperatorError."""
    if isinstance(dtype, torch.dtype):
        return dtype
    found = _NUMBERED[dtype][0] if 0 <= dtype < len(_NUMBERED) else None
    if found is None:
        raise UnsupportedOperatorError(f"tensors of PyTorch's scalar type {dtype} are not supported")
    return found


def onnx_dtype(dtype: int | torch.dtype) -> onnx_ir.DataType:
    """The graph's dtype.  Raises UnsupportedOperatorError."""
    found = torch_dtype(dtype)
    if found not in _TO_ONNX:
        raise UnsupportedOperatorError(f"tensors of {found} are not supported")
    return _TO_ONNX[found]


def dtype_number(dtype: onnx_ir.DataType) -> int:
    """The number of a dtype as TorchScript writes it."""
    return next(i for i, (_, o) in enumerate(_NUMBERED) if o == dtype)


def from_onnx(dtype: onnx_ir.DataType) -> torch.dtype:
    """PyTorch's dtype.  Raises UnsupportedOperatorError."""
    if dtype not in _TO_TORCH:
        raise UnsupportedOperatorError(f"PyTorch has no tensors of {dtype.name.lower()}")
    return _TO_TORCH[dtype]
