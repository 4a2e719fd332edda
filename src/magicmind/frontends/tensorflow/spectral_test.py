"""Complex tensors and Fourier transforms against numpy, on graphs made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir
import pytest

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.tensorflow import schema
from magicmind.frontends.tensorflow.tensors import array_of
from magicmind.testing.tensorflow import GraphBuilder

Array = np.ndarray[Any, Any]

COMPLEX = 8  # DT_COMPLEX64


def signal(*shape: int) -> Array:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def with_type(b: GraphBuilder, node: str, key: str, number: int) -> None:
    """Sets a type that numpy's types do not name."""
    next(n for n in b.message.node if n.name == node).attr.add(key=key).value.type = number


@pytest.mark.parametrize("length", [16, 12, 20])
def test_short_time_spectra(length: int) -> None:
    """Frames of 16, cut or filled up to the length of the transform."""
    b, x = GraphBuilder(), signal(3, 4, 16)
    b.placeholder("x", [-1, 4, 16])
    b.node("RFFT", "spectrum", "x", np.array([length], np.int32))
    b.node("ComplexAbs", "size", "spectrum")
    b.node("Angle", "turned", "spectrum")
    b.node("IRFFT", "back", "spectrum", np.array([length], np.int32))
    size, turned, back = b.run(["size", "turned", "back"], x=x)
    expected = np.fft.rfft(x, length)
    np.testing.assert_allclose(size, np.abs(expected), atol=1e-4)
    np.testing.assert_allclose(size * np.exp(1j * turned), expected, atol=1e-4)
    np.testing.assert_allclose(back, np.fft.irfft(expected, length), atol=1e-4)


def test_transforms_of_planes() -> None:
    b, x = GraphBuilder(), signal(2, 6, 8)
    b.placeholder("x", [2, 6, 8])
    sizes = np.array([6, 8], np.int32)
    b.node("RFFT2D", "half", "x", sizes)
    b.node("IRFFT2D", "back", "half", sizes)
    b.node("Cast", "wide", "x")
    with_type(b, "wide", "DstT", COMPLEX)
    b.node("FFT2D", "whole", "wide")
    b.node("Real", "re", "whole")
    b.node("IFFT2D", "again", "whole")
    b.node("Real", "same", "again")
    back, re, same = b.run(["back", "re", "same"], x=x)
    np.testing.assert_allclose(re, np.fft.fft2(x).real, atol=1e-4)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(same, x, atol=1e-5)


def test_arithmetic_and_rearrangement_of_complex_tensors() -> None:
    b, x, y = GraphBuilder(), signal(3, 4), signal(4, 3) + 2
    b.placeholder("x", [3, 4])
    b.placeholder("y", [4, 3])
    b.node("Transpose", "turned", "y", np.array([1, 0], np.int32))
    b.node("Complex", "z", "x", "turned")
    b.node("Conj", "w", "z")
    b.node("Mul", "squares", "z", "w")
    b.node("RealDiv", "ratio", "squares", "z")
    b.node("Exp", "power", "z")
    b.node("AddV2", "sum", "ratio", "power")
    b.node("ConcatV2", "both", "sum", "z", np.int32(0))
    b.node("StridedSlice", "part", "both", *(np.array(n, np.int32) for n in ([1, 0], [5, 4], [1, 2])))
    b.node("Shape", "shape", "part")
    b.node("Real", "re", "part")
    b.node("Imag", "im", "part")
    re, im, shape = b.run(["re", "im", "shape"], x=x, y=y)
    z = x + 1j * y.T
    expected = np.concatenate([z.conj() + np.exp(z), z])[1:5, ::2]
    np.testing.assert_allclose(re + 1j * im, expected, atol=1e-3)
    assert shape.tolist() == [4, 2]


def test_what_complex_tensors_cannot_be() -> None:
    b = GraphBuilder()
    b.placeholder("x", [3, 4])
    b.node("RFFT", "spectrum", "x", np.array([4], np.int32))
    b.node("Relu", "activated", "spectrum")
    with pytest.raises(ModelFormatError, match="'spectrum' is complex, which cannot be an output"):
        b.graph(["spectrum"])
    with pytest.raises(UnsupportedOperatorError, match=r"activated \(TensorFlow Relu\): input 0 is complex"):
        b.graph(["activated"])


def test_complex_constants() -> None:
    message = schema.GraphDef().node.add().attr.add().value.tensor
    message.dtype = COMPLEX
    message.tensor_shape.dim.add(size=3)
    message.scomplex_val.extend([1, 2, 3, 4])
    assert array_of(message).tolist() == [1 + 2j, 3 + 4j, 3 + 4j]
    assert onnx_ir.DataType.from_numpy(array_of(message).dtype) == onnx_ir.DataType.COMPLEX64
