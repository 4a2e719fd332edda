"""Complex tensors, which are pairs of real ones here, and Fourier transforms, which are products with a matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.aten import indexing, pointwise
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Complex, Tensor
from magicmind.ops.emitter import Value

_NORMS = {None: 0, "backward": 0, "ortho": 1, "forward": 2}


def _pair(c: Converter, x: Any) -> tuple[Value, Value | None]:
    """(real part, imaginary part or None) of a tensor or number."""
    if isinstance(x, Complex):
        return c.value(x.re), c.value(x.im)
    if isinstance(x, complex):
        return c.net.const(x.real, np.float32), c.net.const(x.imag, np.float32)
    return c.value(x, torch.float32) if isinstance(x, (int, float)) else c.value(x), None


def _made(re: Value, im: Value) -> Complex:
    return Complex(Tensor(re), Tensor(im))


# ------------------------------------------------------------------------------------------------- making and reading


@aten("view_as_complex")
def view_as_complex(c: Converter, x: Tensor) -> Complex:
    re, im = (c.value(indexing.select(c, x, -1, i)) for i in (0, 1))
    return _made(re, im)


@aten("complex")
def complex_(c: Converter, re: Tensor, im: Tensor) -> Complex:
    return _made(c.value(re), c.value(im))


@aten("polar")
def polar(c: Converter, size: Tensor, angle: Tensor) -> Complex:
    r, a = c.value(size), c.value(angle)
    return _made(c.net.op("Mul", r, c.net.op("Cos", a)), c.net.op("Mul", r, c.net.op("Sin", a)))


@aten("view_as_real", on_complex=True)
def view_as_real(c: Converter, x: Complex) -> Value:
    re, im = _pair(c, x)
    return c.net.op("Concat", *(c.net.unsqueeze(v, c.rank(re)) for v in (re, im) if v is not None), axis=-1)


@aten("real", on_complex=True)
def real(c: Converter, x: Complex) -> Tensor:
    return x.re


@aten("imag", on_complex=True)
def imag(c: Converter, x: Complex) -> Tensor:
    return x.im


@aten("abs", on_complex=True)
def abs_(c: Converter, x: Complex) -> Value:
    re, im = c.value(x.re), c.value(x.im)
    return c.net.op("Sqrt", c.net.op("Add", c.net.op("Mul", re, re), c.net.op("Mul", im, im)))


@aten("angle", on_complex=True)
def angle(c: Converter, x: Complex) -> Value:
    return pointwise.atan2(c, x.im, x.re)


@aten("conj", "aten::_conj", "aten::conj_physical", "aten::_conj_physical", on_complex=True)
def conj(c: Converter, x: Complex) -> Complex:
    return _made(c.value(x.re), c.net.op("Neg", c.value(x.im)))


# -------------------------------------------------------------------------------------------------------- arithmetic


def _product(c: Converter, op_type: str, a: Any, b: Any) -> Complex:
    """A bilinear operator on pairs."""
    (ar, ai), (br, bi) = _pair(c, a), _pair(c, b)
    re, im = c.net.op(op_type, ar, br), None
    if ai is not None and bi is not None:
        re = c.net.op("Sub", re, c.net.op(op_type, ai, bi))
    for x, y in ((ar, bi), (ai, br)):
        if x is not None and y is not None:
            part = c.net.op(op_type, x, y)
            im = part if im is None else c.net.op("Add", im, part)
    assert im is not None
    return _made(re, im)


@aten("mul", on_complex=True)
def mul(c: Converter, a: Any, b: Any) -> Complex:
    return _product(c, "Mul", a, b)


@aten("matmul", "aten::mm", "aten::bmm", on_complex=True)
def matmul(c: Converter, a: Any, b: Any) -> Complex:
    return _product(c, "MatMul", a, b)


@aten("div", on_complex=True)
def div(c: Converter, a: Any, b: Any, rounding: None = None) -> Complex:
    if isinstance(b, Complex):
        size = c.value(abs_(c, b))
        return div(c, _product(c, "Mul", a, conj(c, b)), Tensor(c.net.op("Mul", size, size)))
    (re, im), (by, _) = _pair(c, a), _pair(c, b)
    assert im is not None
    return _made(c.net.op("Div", re, by), c.net.op("Div", im, by))


def _sum(op_type: str, c: Converter, a: Any, b: Any, alpha: Any) -> Complex:
    if alpha != 1:
        raise UnsupportedOperatorError("a scaled sum of complex tensors")
    (ar, ai), (br, bi) = _pair(c, a), _pair(c, b)
    zero = c.net.scalar(0.0, ar)
    return _made(c.net.op(op_type, ar, br), c.net.op(op_type, zero if ai is None else ai, zero if bi is None else bi))


@aten("add", on_complex=True)
def add(c: Converter, a: Any, b: Any, alpha: Any = 1) -> Complex:
    return _sum("Add", c, a, b, alpha)


@aten("sub", on_complex=True)
def sub(c: Converter, a: Any, b: Any, alpha: Any = 1) -> Complex:
    return _sum("Sub", c, a, b, alpha)


# ------------------------------------------------------------------------------------------------- Fourier transforms


def _basis(n: int, sign: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(cos, sin) of sign * 2 pi j k / n, [n, n], exact to float64's last bits."""
    turn = (np.outer(np.arange(n), np.arange(n)) % n) * (sign * 2 * math.pi / n)
    return np.cos(turn), np.sin(turn)


def _transformed(c: Converter, x: Any, dim: int, sign: float, scale: float, keep: int | None = None) -> Complex:
    """The transform along an axis of known size; `keep` first elements of it."""
    re, im = _pair(c, x)
    size = c.shape(re)[dim]
    if not isinstance(size, int):
        return _transformed_open(c, x, dim, sign, keep)
    cos, sin = (c.net.const(m[:, :keep] * scale, c.net.type(re).dtype.numpy()) for m in _basis(size, sign))
    rank = c.rank(re)
    swap = None if dim % rank == rank - 1 else _swapped(rank, dim)
    parts = [v if v is None or swap is None else c.net.op("Transpose", v, perm=swap) for v in (re, im)]
    result = _product(c, "MatMul", Tensor(parts[0]) if parts[1] is None else _made(parts[0], parts[1]), _made(cos, sin))  # type: ignore[arg-type]
    if swap is None:
        return result
    return _made(*(c.net.op("Transpose", c.value(v), perm=swap) for v in (result.re, result.im)))


def _transformed_open(c: Converter, x: Any, dim: int, sign: float, keep: Any) -> Complex:
    """The whole transform along an axis of mutable size, unscaled: ONNX's, which the run time computes."""
    if sign > 0 or keep is not None:
        raise UnsupportedOperatorError(
            "an inverse or one-sided Fourier transform over a mutable size", hint="fix this dimension"
        )
    parts = [v for v in _pair(c, x) if v is not None]
    rank = c.rank(parts[0])
    pairs = c.net.op("Concat", *(c.net.unsqueeze(v, rank) for v in parts), axis=rank)
    found = c.net.op("DFT", pairs, None, c.net.const(dim % rank, np.int64))
    re, im = (c.net.op("Squeeze", c.net.slice(found, rank, i, i + 1), c.net.ints(rank)) for i in (0, 1))
    return _made(re, im)


def _swapped(rank: int, dim: int) -> list[int]:
    order = list(range(rank))
    order[dim], order[-1] = order[-1], order[dim]
    return order


def _scale(n: Any, norm: int) -> float:
    if norm and not isinstance(n, int):
        raise UnsupportedOperatorError(f"a scaled Fourier transform over a mutable size {n}", hint="fix this dimension")
    return 1.0 if norm == 0 else 1 / math.sqrt(n) if norm == 1 else 1 / n


def _size(c: Converter, x: Any, dim: int) -> Any:
    return c.shape(x.re if isinstance(x, Complex) else x)[dim]


def _cut(c: Converter, x: Any, n: int | None, dim: int) -> Any:
    """The axis cut to n elements, or filled up with zeros."""
    have = _size(c, x, dim)
    if n is None or n == have:
        return x
    if isinstance(x, Complex):
        return Complex(_cut(c, x.re, n, dim), _cut(c, x.im, n, dim))
    if n < have:
        return Tensor(c.net.slice(c.value(x), dim, 0, n))
    pads = [0] * (2 * c.rank(x))
    pads[c.rank(x) + dim % c.rank(x)] = n - have
    return Tensor(c.net.op("Pad", c.value(x), c.net.ints(*pads)))


def _forward(c: Converter, x: Any, dim: int, norm: int, one_sided: bool = False) -> Complex:
    n = _size(c, x, dim)
    return _transformed(c, x, dim, -1.0, _scale(n, norm), n // 2 + 1 if one_sided else None)


def _backward(c: Converter, x: Any, dim: int, norm: int) -> Complex:
    return _transformed(c, x, dim, 1.0, _scale(_size(c, x, dim), 2 - norm))


def _real_backward(c: Converter, x: Any, dim: int, norm: int, n: int) -> Value:
    """The real signal of n elements whose spectrum's first half is x."""
    half = n // 2 + 1
    (re, im), rank = _pair(c, _cut(c, x, half, dim)), c.rank(x.re if isinstance(x, Complex) else x)
    cos, sin = _basis(n, 1.0)
    twice = np.full((half, 1), 2.0)
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    like = c.net.type(re).dtype.numpy()
    to_re, to_im = (c.net.const(m[:half] * twice * _scale(n, 2 - norm), like) for m in (cos, -sin))
    swap = _swapped(rank, dim)
    parts = [None if v is None else c.net.op("Transpose", v, perm=swap) for v in (re, im)]
    total = c.net.op("MatMul", parts[0], to_re)
    if parts[1] is not None:
        total = c.net.op("Add", total, c.net.op("MatMul", parts[1], to_im))
    return c.net.op("Transpose", total, perm=swap)


def fft(c: Converter, x: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Complex:
    return _forward(c, _cut(c, x, n, dim), dim, _NORMS[norm])


def ifft(c: Converter, x: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Complex:
    return _backward(c, _cut(c, x, n, dim), dim, _NORMS[norm])


@aten("fft_rfft")
def rfft(c: Converter, x: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Complex:
    return _forward(c, _cut(c, x, n, dim), dim, _NORMS[norm], True)


def irfft(c: Converter, x: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Value:
    return _real_backward(c, x, dim, _NORMS[norm], 2 * (_size(c, x, dim) - 1) if n is None else n)


def _over(c: Converter, x: Any, function: Any, sizes: Any, dims: Sequence[int], norm: str | None) -> Any:
    for i, dim in enumerate(dims):
        x = function(c, x, None if sizes is None else sizes[i], dim, norm)
    return x


def fft2(c: Converter, x: Any, s: Any = None, dim: Sequence[int] = (-2, -1), norm: str | None = None) -> Any:
    return _over(c, x, fft, s, dim, norm)


def ifft2(c: Converter, x: Any, s: Any = None, dim: Sequence[int] = (-2, -1), norm: str | None = None) -> Any:
    return _over(c, x, ifft, s, dim, norm)


@aten("fft_rfft2", "aten::fft_rfftn")
def rfft2(c: Converter, x: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Complex:
    dims = list(range(c.rank(x))) if dim is None else dim
    last = rfft(c, x, None if s is None else s[-1], dims[-1], norm)
    return _over(c, last, fft, None if s is None else s[:-1], dims[:-1], norm)  # type: ignore[no-any-return]


def irfft2(c: Converter, x: Any, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Value:
    dims = list(range(c.rank(x.re))) if dim is None else dim
    rest = _over(c, x, ifft, None if s is None else s[:-1], dims[:-1], norm)
    return irfft(c, rest, None if s is None else s[-1], dims[-1], norm)


def fftn(c: Converter, x: Any, s: Any = None, dim: Sequence[int] | None = None, norm: str | None = None) -> Any:
    return _over(c, x, fft, s, _dims(c, x, s, dim), norm)


def ifftn(c: Converter, x: Any, s: Any = None, dim: Sequence[int] | None = None, norm: str | None = None) -> Any:
    return _over(c, x, ifft, s, _dims(c, x, s, dim), norm)


def _dims(c: Converter, x: Any, sizes: Any, dims: Sequence[int] | None) -> Sequence[int]:
    """All axes, or the last ones where only sizes are given."""
    count = c.rank(x.re if isinstance(x, Complex) else x) if sizes is None else len(sizes)
    return range(-count, 0) if dims is None else dims


_ON_BOTH: dict[str, Callable[..., Any]] = {
    "fft_fft": fft, "fft_ifft": ifft, "fft_irfft": irfft, "fft_fft2": fft2, "fft_ifft2": ifft2,
    "fft_irfft2": irfft2, "fft_irfftn": irfft2, "fft_fftn": fftn, "fft_ifftn": ifftn,
}  # fmt: skip
for _name, _function in _ON_BOTH.items():
    aten(_name, on_complex=True)(_function)
    aten(_name)(_function)


@aten("_fft_r2c")
def fft_r2c(c: Converter, x: Tensor, dims: Sequence[int], norm: int, one_sided: bool) -> Complex:
    """`norm`: 0 none, 1 by the root of the size, 2 by the size."""
    found: Any = _forward(c, x, dims[-1], norm, one_sided)
    for dim in dims[:-1]:
        found = _forward(c, found, dim, norm)
    return found  # type: ignore[no-any-return]


@aten("_fft_c2c", on_complex=True)
def fft_c2c(c: Converter, x: Any, dims: Sequence[int], norm: int, forward: bool) -> Any:
    for dim in dims:
        x = _transformed(c, x, dim, -1.0 if forward else 1.0, _scale(_size(c, x, dim), norm))
    return x


@aten("_fft_c2r", on_complex=True)
def fft_c2r(c: Converter, x: Any, dims: Sequence[int], norm: int, size: int) -> Value:
    for dim in dims[:-1]:
        x = _transformed(c, x, dim, 1.0, _scale(_size(c, x, dim), norm))
    return _real_backward(c, x, dims[-1], 2 - norm, size)


# ------------------------------------------------------------------------------------------- short-time transforms


@aten("stft")
def stft(c: Converter, x: Tensor, size: int, hop: int | None = None, length: int | None = None, *settings: Any) -> Any:
    """Spectra [..., bins, frames] of windowed frames, as a convolution with the transform's rows.

    settings: window, normalized, onesided, return_complex, align_to_window; with center and pad_mode after the window
    where centred frames are wanted.
    """
    window, *flags = settings
    centred, mode = (flags[0], flags[1]) if len(flags) > 1 and isinstance(flags[1], str) else (False, "reflect")
    normalized, one_sided, as_complex = flags[2:5] if len(flags) > 1 and isinstance(flags[1], str) else flags[:3]
    bins = size // 2 + 1 if one_sided is None or one_sided else size
    rows = _windowed(window, size, length or size) * np.stack(_basis(size, -1.0))[:, :bins]
    rows = rows / math.sqrt(size) if normalized else rows
    single = c.rank(x) == 1
    value = c.net.unsqueeze(c.value(x), 0, 1) if single else c.net.unsqueeze(c.value(x), 1)
    if centred:
        pads = c.net.ints(0, 0, size // 2, 0, 0, size // 2)
        value = c.net.op("Pad", value, pads, mode={"replicate": "edge"}.get(mode, mode))
    kernel = c.net.const(rows.reshape(2 * bins, 1, size), c.net.type(value).dtype.numpy())
    spectra = c.net.op("Conv", value, kernel, strides=[hop or size // 4])
    spectra = c.net.squeeze(spectra, 0) if single else spectra
    re, im = (c.net.slice(spectra, -2, i * bins, (i + 1) * bins) for i in (0, 1))
    found = _made(re, im)
    return found if as_complex else view_as_real(c, found)


def _windowed(window: Tensor | None, size: int, length: int) -> np.ndarray[Any, Any]:
    """The window in the middle of a frame of `size`."""
    if window is not None and window.constant is None:
        raise UnsupportedOperatorError("a window that only the run tells")
    given = np.ones(length) if window is None else window.constant.double().numpy()  # type: ignore[union-attr]
    left = (size - given.size) // 2
    return np.pad(given, (left, size - given.size - left))


@aten("istft", on_complex=True)
def istft(
    c: Converter, x: Complex, size: int, hop: int | None = None, length: int | None = None, window: Any = None,
    centred: bool = True, normalized: bool = False, one_sided: bool | None = None, samples: int | None = None,
    as_complex: bool = False,
) -> Value:  # fmt: skip
    """The signal of spectra [N, bins, frames]: frames added up, over the sum of the squared windows."""
    if as_complex or one_sided is False:
        raise UnsupportedOperatorError("istft of two-sided spectra")
    bins, step = size // 2 + 1, hop or size // 4
    shape = _windowed(window, size, length or size)
    cos, sin = (m[:bins] for m in _basis(size, 1.0))
    twice = np.full((bins, 1), 2.0)
    twice[0], twice[-1] = 1, 1 if size % 2 == 0 else 2
    rows = np.concatenate([cos * twice, -sin * twice]) * shape / (math.sqrt(size) if normalized else size)
    single = c.rank(x.re) == 2
    both = c.net.op("Concat", c.value(x.re), c.value(x.im), axis=-2)
    both = c.net.unsqueeze(both, 0) if single else both
    like = c.net.type(both).dtype.numpy()
    kernel = c.net.const(rows[:, None], like)
    signal = c.net.op("ConvTranspose", both, kernel, strides=[step])
    one = c.net.op("Expand", c.net.const(1, like), c.vector([1, 1, c.shape(x.re)[-1]]))
    weight = c.net.op("ConvTranspose", one, c.net.const((shape**2)[None, None], like), strides=[step])
    begin = size // 2 if centred else 0
    end = begin + samples if samples is not None else -(size // 2) if centred else (1 << 63) - 1
    cut = [c.net.slice(v, 2, begin, end) for v in (signal, weight)]
    result = c.net.squeeze(c.net.op("Div", *cut), 1)
    return c.net.squeeze(result, 0) if single else result
