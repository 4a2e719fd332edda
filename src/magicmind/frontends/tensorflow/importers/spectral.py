"""Complex tensors, which are pairs of real ones here, and Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from magicmind.errors import ModelFormatError
from magicmind.frontends.tensorflow.call import ON_PARTS, Call, complex_importer, importer
from magicmind.frontends.tensorflow.importers import shape as shapes
from magicmind.frontends.tensorflow.importers.elementwise import quadrant
from magicmind.frontends.tensorflow.items import PART, Complex, Item
from magicmind.ops.emitter import Value

ON_PARTS |= {
    "AddN", "BroadcastTo", "Concat", "ConcatV2", "EnsureShape", "ExpandDims", "Gather", "GatherNd", "GatherV2",
    "Identity", "IdentityN", "Mean", "MirrorPad", "Neg", "Pack", "Pad", "PadV2", "Reshape", "ReverseV2", "Roll",
    "Select", "SelectV2", "Slice", "Split", "SplitV", "Squeeze", "StopGradient", "StridedSlice", "Sub", "Sum", "Tile",
    "Transpose", "Unpack", "ZerosLike",
}  # fmt: skip


# --------------------------------------------------------------------------------------------------- making and reading


@importer("Complex")
def complex_(c: Call) -> Item:
    """A complex tensor of its two parts."""
    re, im = c.x, c.value(1)
    zero = c.net.scalar(0, re)  # both parts have the shape they broadcast to
    return (
        Complex(c.net.op("Add", re, c.net.op("Mul", im, zero)), c.net.op("Add", im, c.net.op("Mul", re, zero)))
        if c.shape(0) != c.shape(1)
        else Complex(re, im)
    )


@complex_importer("Real")
def real(c: Call) -> Value:
    """The real part."""
    return c.pair(0).re


@complex_importer("Imag")
def imaginary(c: Call) -> Value:
    """The imaginary part."""
    return c.pair(0).im


@complex_importer("Conj")
def conjugate(c: Call) -> Item:
    """The imaginary part with the other sign; a real tensor as it is."""
    if not isinstance(c.inputs[0], Complex):
        return c.x
    return Complex(c.pair(0).re, c.net.op("Neg", c.pair(0).im))


@complex_importer("ComplexAbs")
def absolute(c: Call) -> Value:
    """Sqrt of the sum of the squares of both parts."""
    return c.net.op("Sqrt", _square(c, c.pair(0)))


@complex_importer("Angle")
def angle(c: Call) -> Value:
    """The angle by the quadrant of both parts."""
    return quadrant(c.net, c.pair(0).im, c.pair(0).re)


@complex_importer("Cast")
def cast(c: Call) -> Item:
    """The parts as another type; to a real type the real part."""
    found, dtype = c.pair(0), c.node.dtype("DstT")
    if dtype not in PART:
        return c.net.cast(found.re, dtype)
    return Complex(*(c.net.cast(v, PART[dtype]) for v in (found.re, found.im)))


@complex_importer("Shape", "Size", "Rank")
def shape(c: Call) -> Value:
    """The shape of either part."""
    return _OF_SHAPE[c.node.op](replace(c, inputs=[c.pair(0).re]))


_OF_SHAPE: dict[str, Callable[[Call], Value]] = {"Shape": shapes.shape, "Size": shapes.size, "Rank": shapes.rank}


# ----------------------------------------------------------------------------------------------------------- arithmetic


def _square(c: Call, x: Complex) -> Value:
    net = c.net
    return net.op("Add", net.op("Mul", x.re, x.re), net.op("Mul", x.im, x.im))


def _product(c: Call, op_type: str, a: Complex, b: Complex) -> Complex:
    """A bilinear operator on pairs."""
    op = c.net.op
    re = op("Sub", op(op_type, a.re, b.re), op(op_type, a.im, b.im))
    return Complex(re, op("Add", op(op_type, a.re, b.im), op(op_type, a.im, b.re)))


@complex_importer("Mul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "MatMul", "Square")
def product(c: Call) -> Item:
    """Four real products."""
    if c.node.op == "Mul":
        return _product(c, "Mul", c.pair(0), c.pair(1))
    if c.node.op == "Square":
        return _product(c, "Mul", c.pair(0), c.pair(0))
    flags = ("transpose_a", "transpose_b", "adj_x", "adj_y")
    if any(c.attr(name, False) for name in flags):
        raise c.unsupported("products of transposed complex matrices")
    return _product(c, "MatMul", c.pair(0), c.pair(1))


@complex_importer("Add", "AddV2")
def add(c: Call) -> Item:
    """Sums of the parts."""
    a, b = c.pair(0), c.pair(1)
    return Complex(c.net.op("Add", a.re, b.re), c.net.op("Add", a.im, b.im))


@complex_importer("RealDiv", "Div", "DivNoNan")
def divide(c: Call) -> Item:
    """By the product with what is conjugate."""
    a, b = c.pair(0), c.pair(1)
    found, size = _product(c, "Mul", a, Complex(b.re, c.net.op("Neg", b.im))), _square(c, b)
    if c.node.op == "DivNoNan":
        size = c.net.op("Where", c.net.op("Equal", size, c.net.scalar(0, size)), c.net.scalar(np.inf, size), size)
    return Complex(c.net.op("Div", found.re, size), c.net.op("Div", found.im, size))


@complex_importer("Exp")
def exponential(c: Call) -> Item:
    """exp(re) * (cos(im), sin(im))."""
    net, x = c.net, c.pair(0)
    size = net.op("Exp", x.re)
    return Complex(net.op("Mul", size, net.op("Cos", x.im)), net.op("Mul", size, net.op("Sin", x.im)))


# -------------------------------------------------------------------------------------------------- Fourier transforms


def _joined(c: Call, x: Complex) -> Value:
    """[..., 2], as DFT takes it."""
    rank = c.net.rank(x.re)
    return c.net.op("Concat", c.net.unsqueeze(x.re, rank), c.net.unsqueeze(x.im, rank), axis=rank)


def _parts(c: Call, x: Value) -> Complex:
    axis = c.net.rank(x) - 1
    return Complex(*(c.net.squeeze(c.net.slice(x, axis, i, i + 1), axis) for i in (0, 1)))


def _lengths(c: Call, count: int) -> list[Value | None]:
    """The sizes that real transforms are told; None for those of other ones."""
    if "RFFT" not in c.node.op:
        return [None] * count
    found = c.vector(c.value(1))
    if c.net.shape(found) != (count,):
        raise ModelFormatError(f"fft_length (input 1) has shape {list(c.net.shape(found))}; {count} sizes are needed")
    return [c.net.reshape(c.net.slice(found, 0, i, i + 1)) for i in range(count)]


def _count(c: Call) -> int:
    return int(c.node.op[-2]) if c.node.op.endswith("D") else 1


def _transform(c: Call, x: Value, axis: int, length: Value | None, *, inverse: bool, onesided: bool = False) -> Value:
    place = c.net.const(axis, np.int64)
    return c.net.op("DFT", x, length, place, inverse=int(inverse), onesided=int(onesided))


@complex_importer("FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D")
def transform(c: Call) -> Item:
    """DFT of the last axes, one by one."""
    x, inverse = _joined(c, c.pair(0)), c.node.op.startswith("I")
    for i in range(_count(c)):
        x = _transform(c, x, c.net.rank(x) - 2 - i, None, inverse=inverse)
    return _parts(c, x)


@importer("RFFT", "RFFT2D", "RFFT3D")
def real_transform(c: Call) -> Item:
    """DFT of the last axis, of which half is kept, then of those before it."""
    x, count = c.net.unsqueeze(c.x, c.rank()), _count(c)
    lengths = _lengths(c, count)
    for i in range(count):
        x = _transform(c, x, c.net.rank(x) - 2 - i, lengths[-1 - i], inverse=False, onesided=i == 0)
    return _parts(c, x)


@complex_importer("IRFFT", "IRFFT2D", "IRFFT3D")
def real_inverse(c: Call) -> Value:
    """DFT backwards, the last axis last, of which the file has half."""
    x, count = _joined(c, c.pair(0)), _count(c)
    lengths = _lengths(c, count)
    for i in reversed(range(count)):
        x = _transform(c, x, c.net.rank(x) - 2 - i, lengths[-1 - i], inverse=True, onesided=i == 0)
    return c.net.squeeze(x, c.net.rank(x) - 1)
