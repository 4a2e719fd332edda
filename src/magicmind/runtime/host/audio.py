"""Sound: WAV files, spectrograms, mel cepstra, with the numbers TensorFlow's operators of that name give.

Davis and Mermelstein 1980, "Comparison of parametric representations for monosyllabic word recognition"; the mel scale
is 1127 * log(1 + f / 700).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from magicmind.errors import ShapeError
from magicmind.runtime.host import Array, HostCall, host

_PCM = 1
_FLOOR = 1e-12  # of a band, before its logarithm


@host("magicmind.DecodeWav")
def decode_wav(call: HostCall) -> Sequence[Any]:
    """Samples as -1..1; too few are followed by zeros, too few channels by copies of the last."""
    contents = np.asarray(call.inputs[0]).reshape(-1)[0]
    if isinstance(contents, str):
        contents = contents.encode("utf-8", "surrogateescape")
    samples, rate = read_wav(bytes(contents))
    wanted, channels = int(call.attr("samples", -1)), int(call.attr("channels", -1))
    audio = samples.astype(np.float32) / np.float32(32768)
    if channels > 0:
        audio = audio[:, [min(i, audio.shape[1] - 1) for i in range(channels)]]
    if wanted > 0:
        audio = np.pad(audio[:wanted], [(0, max(wanted - len(audio), 0)), (0, 0)])
    return [audio, np.array(rate, np.int32)]


def read_wav(data: bytes) -> tuple[Array, int]:
    """int16 [samples, channels] and the rate of a WAV file.  Raises ShapeError for anything but 16-bit PCM."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ShapeError("the input is no WAV file: it does not begin with RIFF and WAVE")
    found: tuple[int, int] | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if kind != _PCM or bits != 16 or not channels:
                raise ShapeError(f"a WAV file of format {kind} with {bits} bits; 16-bit PCM (format 1) is supported")
            found = channels, rate
        elif name == b"data" and found is not None:
            whole = len(body) // (2 * found[0]) * 2 * found[0]
            return np.frombuffer(body[:whole], "<i2").reshape(-1, found[0]), found[1]
        at += 8 + size + size % 2
    raise ShapeError("the WAV file has no samples")


@host("magicmind.Spectrogram")
def spectrogram(call: HostCall) -> Sequence[Any]:
    """Magnitudes, or their squares, of the Fourier transform of every window."""
    audio = call.inputs[0].astype(np.float64)
    window, stride = int(call.attr("window")), int(call.attr("stride"))
    curve = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    length = 1 << (window - 1).bit_length()
    if len(audio) < window:
        return [np.zeros((audio.shape[1], 0, length // 2 + 1), np.float32)]
    frames = np.lib.stride_tricks.sliding_window_view(audio, window, axis=0)[::stride]  # [frames, channels, window]
    spectrum = np.fft.rfft(frames * curve, length, axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    found = power if call.attr("squared", 0) else np.sqrt(power)
    return [np.ascontiguousarray(found.transpose(1, 0, 2), np.float32)]


@host("magicmind.MelCepstrum")
def mel_cepstrum(call: HostCall) -> Sequence[Any]:
    """Bands of the spectrogram (squared magnitudes), their logarithm, a cosine transform of these."""
    power, rate = call.inputs[0], int(np.asarray(call.inputs[1]).reshape(-1)[0])
    bands, count = int(call.attr("bands", 40)), int(call.attr("coefficients", 13))
    low, high = float(call.attr("low", 20.0)), float(call.attr("high", 4000.0))
    if rate <= 0 or not 0 <= low < high or bands < 1:
        raise ShapeError(f"{bands} mel bands from {low} to {high} Hz do not exist at a rate of {rate} Hz")
    weights = mel_weights(power.shape[-1], rate, bands, low, high)
    logs = np.log(np.maximum(np.sqrt(power.astype(np.float64)) @ weights, _FLOOR))
    angles = np.pi / bands * np.arange(count)[:, None] * (np.arange(bands) + 0.5)
    return [(logs @ (np.sqrt(2 / bands) * np.cos(angles)).T).astype(np.float32)]


@lru_cache(maxsize=8)
def mel_weights(bins: int, rate: int, bands: int, low: float, high: float) -> Array:
    """[bins, bands]: triangles that overlap by half, at equal distances on the mel scale."""
    ends = _mel(low), _mel(high)
    centres = ends[0] + (ends[1] - ends[0]) / (bands + 1) * np.arange(1, bands + 2)
    width = 0.5 * rate / (bins - 1)
    first, last = int(1.5 + low / width), min(int(high / width), bins - 1)
    weights = np.zeros((bins, bands + 1))
    for i in range(first, last + 1):
        place = _mel(i * width)
        above = min(int(np.searchsorted(centres[:bands], place)), bands)  # the band that begins to rise here
        start = centres[above - 1] if above else ends[0]
        share = (centres[above] - place) / (centres[above] - start)
        if above:
            weights[i, above - 1] += share
        weights[i, above] += 1 - share
    return weights[:, :bands]


def _mel(frequency: float) -> float:
    return float(1127.0 * np.log1p(frequency / 700.0))
