"""DFT, STFT and MelWeightMatrix: products with matrices of cosines and sines.  ONNX operators DFT-20, STFT-17.

A transform of n points is n * n multiplications: fine for the frames of audio models. Longer ones, and those whose
length, axis or window only the run time knows, are host steps (numpy's fast transforms).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx_ir import DataType

from magicmind.errors import ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import Dim
from magicmind.ir.evaluate import evaluate_node
from magicmind.ir.types import TensorType
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import NodeView, Op

dft = Op("DFT")
stft = Op("STFT")
mel = Op("MelWeightMatrix")

_MOST_POINTS = 2048  # of a transform by products: 16 million numbers of two matrices

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def waves(n: int, bins: int, sign: float = -1.0) -> tuple[Matrix, Matrix]:
    """cos and sin of sign * 2 pi * i * j / n, [n, bins]; the product i * j is reduced exactly before."""
    turns = np.outer(np.arange(n), np.arange(bins)) % n
    angle = 2 * np.pi * turns / n
    quarter = 4 * turns % n == 0  # there one of the two is exactly zero
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.where(quarter, np.rint(cosine), cosine), sign * np.where(quarter, np.rint(sine), sine)


@dft.expand
def expand_dft(e: Expansion) -> list[Value]:
    """x [..., n, 1 or 2] to [..., bins, 2] along `axis`; `onesided` keeps n // 2 + 1 bins."""
    x = e.input(0)
    rank = e.rank(x)
    axis = (e.view.need_ints(2, "axis")[0] if e.has(2) else -2) % rank
    inverse, onesided = bool(e.view.attr("inverse", 0)), bool(e.view.attr("onesided", 0))
    given = e.shape(x)[axis]
    half = inverse and onesided
    whole = given if not half else (given - 1) * 2
    n = e.view.need_ints(1, "dft_length")[0] if e.has(1) else whole
    if not isinstance(n, int) or not isinstance(given, int):
        raise UnsupportedOperatorError("the length of the transform is mutable")
    if n > _MOST_POINTS:
        raise UnsupportedOperatorError(f"{n} points are too many for products with a matrix")
    last = [i for i in range(rank - 1) if i != axis] + [axis]
    turned = e.op("Transpose", x, perm=[*last, rank - 1])
    parts = e.shape(x)[-1]
    back = [last.index(i) for i in range(rank - 1)]
    if half:
        signal = _from_half(e, _of_length(e, turned, min(given, n // 2 + 1), rank - 2), n)
        return [e.op("Transpose", signal, perm=[*back, rank - 1])]
    turned = _of_length(e, turned, min(given, n), rank - 2)
    bins = n // 2 + 1 if onesided else n
    cosine, sine = (w[: min(given, n)] / (n if inverse else 1) for w in waves(n, bins, 1.0 if inverse else -1.0))
    real_in = e.squeeze(e.slice(turned, rank - 1, 0, 1), rank - 1)
    if parts == 1:
        result = _pair(e, _times(e, real_in, cosine), _times(e, real_in, sine))
    else:
        imaginary_in = e.squeeze(e.slice(turned, rank - 1, 1, 2), rank - 1)
        result = _pair(
            e,
            e.op("Sub", _times(e, real_in, cosine), _times(e, imaginary_in, sine)),
            e.op("Add", _times(e, real_in, sine), _times(e, imaginary_in, cosine)),
        )
    return [e.op("Transpose", result, perm=[*back, rank - 1])]


@dft.late
def late_dft(node: NodeView) -> list[TensorType]:
    """As `expand_dft`, with a size of the output unforeseen where the length or the axis are."""
    x, onesided = node.input(0), bool(node.attr("onesided", 0))
    parts = 1 if onesided and node.attr("inverse", 0) else 2
    if not onesided and not node.has(1):
        return [TensorType(x.dtype, (*x.dims[:-1], parts))]
    found = node.ints(2) if node.has(2) else [-2]
    axes = range(x.rank - 1) if found is None else [found[0] % x.rank]
    dims: list[Dim] = [node.unknown(0, i) if i in axes else d for i, d in enumerate(x.dims)]
    return [TensorType(x.dtype, (*dims[:-1], parts))]


def _from_half(e: Expansion, x: Value, n: int) -> Value:
    """n real points, [..., n, 1], from the first half of their spectrum, [..., bins, 2]; the rest mirrors it."""
    axis = e.rank(x) - 1
    bins = e.shape(x)[axis - 1]
    assert isinstance(bins, int)
    cosine, sine = (w.T for w in waves(n, bins))
    weight = np.full((bins, 1), 2.0)
    weight[0] = 1
    if n % 2 == 0 and bins == n // 2 + 1:
        weight[-1] = 1
    real, imaginary = (e.squeeze(e.slice(x, axis, i, i + 1), axis) for i in (0, 1))
    total = e.op("Add", _times(e, real, cosine * weight / n), _times(e, imaginary, sine * weight / n))
    return e.unsqueeze(total, axis)


def _of_length(e: Expansion, x: Value, length: int, axis: int) -> Value:
    return x if e.shape(x)[axis] == length else e.slice(x, axis, 0, length)


def _times(e: Expansion, x: Value, matrix: Matrix) -> Value:
    return e.op("MatMul", x, e.const(matrix, e.type(x).dtype.numpy()))


def _pair(e: Expansion, real: Value, imaginary: Value) -> Value:
    """[..., 2] of two equal shapes."""
    axis = e.rank(real)
    return e.op("Concat", e.unsqueeze(real, axis), e.unsqueeze(imaginary, axis), axis=axis)


@stft.expand
def expand_stft(e: Expansion) -> list[Value]:
    """signal [N, L] or [N, L, 1], frame_step, window?, frame_length? to [N, frames, bins, 2]."""
    signal = e.input(0)
    step = e.view.need_ints(1, "frame_step")[0]
    window = e.view.const(2) if e.has(2) else None
    if e.has(2) and window is None:
        raise UnsupportedOperatorError("the window (input 2) is computed at run time; it must be a constant")
    if e.has(3):
        length = e.view.need_ints(3, "frame_length")[0]
    elif window is not None:
        length = window.size
    else:
        raise ShapeError("neither a window nor a frame length is given")
    samples = e.shape(signal)[1]
    if not isinstance(samples, int) or (e.rank(signal) == 3 and e.shape(signal)[2] != 1):
        raise UnsupportedOperatorError("only real signals of a fixed length have an expansion")
    if length > _MOST_POINTS:
        raise UnsupportedOperatorError(f"frames of {length} samples are too long for products with a matrix")
    flat = e.squeeze(signal, 2) if e.rank(signal) == 3 else signal
    starts = np.arange((samples - length) // step + 1) * step
    frames = e.op("Gather", flat, e.const(starts[:, None] + np.arange(length), np.int64), axis=1)
    bins = length // 2 + 1 if e.view.attr("onesided", 1) else length
    weights = np.ones(length) if window is None else window.astype(np.float64)
    cosine, sine = (w * weights[:, None] for w in waves(length, bins))
    return [_pair(e, _times(e, frames, cosine), _times(e, frames, sine))]


@stft.late
def late_stft(node: NodeView) -> list[TensorType]:
    """As `expand_stft`, with unforeseen numbers of frames and bins."""
    signal = node.input(0)
    return [TensorType(signal.dtype, (signal.dims[0], node.unknown(0, 1), node.unknown(0, 2), 2))]


@mel.expand
def expand_mel(e: Expansion) -> list[Value]:
    """A constant, by onnx's own evaluator."""
    inputs = [e.view.const(i) for i in range(5)]
    if any(x is None for x in inputs):
        raise UnsupportedOperatorError("its inputs are computed at run time; they must be constants")
    (matrix,) = evaluate_node(e.node, inputs, e.opset)
    return [e.const(matrix, DataType(e.view.attr("output_datatype", 1)).numpy())]


@mel.late
def late_mel(node: NodeView) -> list[TensorType]:
    """[dft_length // 2 + 1, bins] where either is computed at run time."""
    return [TensorType(DataType(node.attr("output_datatype", 1)), (node.unknown(0, 0), node.unknown(0, 1)))]
