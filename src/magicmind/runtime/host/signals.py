"""Fourier transforms by numpy's fast ones, mel weights, running sums: what only the run time can tell how to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.runtime.host import Array, HostCall, host


def _number(value: Any, default: int = 0) -> int:
    return default if value is None else int(np.asarray(value).reshape(-1)[0])


@host("CumSum")
def cumulative_sum(call: HostCall) -> Sequence[Any]:
    """Along an axis that an input names."""
    return [_running(call, np.cumsum, 0)]


@host("CumProd")
def cumulative_product(call: HostCall) -> Sequence[Any]:
    """Along an axis that an input names."""
    return [_running(call, np.cumprod, 1)]


def _running(call: HostCall, accumulate: Any, neutral: int) -> Array:
    """`exclusive` begins with the neutral element and leaves the last one out; `reverse` runs from the end."""
    x = np.moveaxis(call.inputs[0], _number(call.inputs[1]), 0)
    x = x[::-1] if call.attr("reverse", 0) else x
    total = accumulate(x, axis=0, dtype=x.dtype)
    if call.attr("exclusive", 0):
        total = np.concatenate([np.full_like(total[:1], neutral), total[:-1]])
    total = total[::-1] if call.attr("reverse", 0) else total
    return np.moveaxis(total, 0, _number(call.inputs[1]))


def _complex(x: Array) -> Array:
    """Pairs, or single real numbers, in the last axis as one complex number each."""
    wide = x.astype(np.float64)
    return wide[..., 0] + 1j * wide[..., 1] if x.shape[-1] == 2 else wide[..., 0].astype(np.complex128)


def _pairs(x: Array, dtype: np.dtype[Any] | None) -> Array:
    return np.stack([x.real, x.imag], axis=-1).astype(dtype)


@host("DFT")
def transform(call: HostCall) -> Sequence[Any]:
    """x [..., 1 or 2] along an axis; `onesided` keeps the first half of a spectrum, or starts from it."""
    x = call.inputs[0]
    axis = _number(call.input(2), -2) % x.ndim
    length = None if call.input(1) is None else _number(call.inputs[1])
    inverse, onesided = bool(call.attr("inverse", 0)), bool(call.attr("onesided", 0))
    signal = _complex(x)
    if inverse and onesided:
        points = 2 * (x.shape[axis] - 1) if length is None else length
        return [np.fft.irfft(signal, points, axis=axis)[..., None].astype(x.dtype)]
    found = np.fft.ifft(signal, length, axis=axis) if inverse else np.fft.fft(signal, length, axis=axis)
    if onesided:
        found = np.take(found, np.arange(found.shape[axis] // 2 + 1), axis=axis)
    return [_pairs(found, x.dtype)]


@host("STFT")
def short_time_transform(call: HostCall) -> Sequence[Any]:
    """signal [N, L, 1 or 2] or [N, L] in windowed frames, each transformed: [N, frames, bins, 2]."""
    x, step, window = call.inputs[0], _number(call.inputs[1]), call.input(2)
    length = _number(call.input(3), 0 if window is None else window.size)
    signal = _complex(x if x.ndim == 3 else x[..., None])
    starts = np.arange((signal.shape[1] - length) // step + 1) * step
    frames = signal[:, starts[:, None] + np.arange(length)]
    if window is not None:
        frames = frames * window.astype(np.float64)
    found = np.fft.fft(frames, axis=-1)
    bins = length // 2 + 1 if call.attr("onesided", 1) else length
    return [_pairs(found[..., :bins], x.dtype)]


@host("MelWeightMatrix")
def mel_weights(call: HostCall) -> Sequence[Any]:
    """[dft_length // 2 + 1, bins]: triangles of equal width on the mel scale, 2595 * log10(1 + f / 700)."""
    bins, length, rate = (_number(x) for x in call.inputs[:3])
    low, high = (2595 * np.log10(1 + float(np.asarray(x).reshape(-1)[0]) / 700) for x in call.inputs[3:5])
    corners = 700 * (10 ** ((np.arange(bins + 2) * (high - low) / (bins + 2) + low) / 2595) - 1)
    places = ((length + 1) * corners // rate).astype(np.int64)
    spectrum = np.arange(length // 2 + 1)
    weights = np.zeros((spectrum.size, bins))
    for column, (left, centre, right) in zip(weights.T, zip(places, places[1:], places[2:], strict=False), strict=True):
        rising = (spectrum >= left) & (spectrum < centre)
        column[rising] = (spectrum[rising] - left) / (centre - left)
        falling = (spectrum > centre) & (spectrum < right)
        column[falling] = (right - spectrum[falling]) / (right - centre)
        column[spectrum == centre] = 1.0
    return [weights.astype(call.dtypes[0])]
