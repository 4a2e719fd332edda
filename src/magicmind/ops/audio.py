"""Our own operators (domain `magicmind`) at the front of networks for sound; they are host steps.

DecodeWav(contents) -> audio [samples, channels], rate (int32)          16-bit PCM; attributes samples, channels
Spectrogram(audio [samples, channels]) -> [channels, frames, bins]      Hann windows; window, stride, squared
MelCepstrum(spectrogram, rate) -> [channels, frames, coefficients]      low, high, bands, coefficients
"""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ShapeError
from magicmind.ir.dims import Dim
from magicmind.ir.types import TensorType
from magicmind.ops.fused import DOMAIN
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import need_rank

_FLOAT, _INT32 = onnx_ir.DataType.FLOAT, onnx_ir.DataType.INT32

decode_wav = Op("DecodeWav", DOMAIN).host()
spectrogram = Op("Spectrogram", DOMAIN).host()
mel_cepstrum = Op("MelCepstrum", DOMAIN).host()


@decode_wav.infer
def infer_decode_wav(node: NodeView) -> list[TensorType]:
    """A file has as many samples and channels as are asked for, else as it says itself."""
    need_rank(node.input(0), 0, 1, "the file")
    asked = [node.attr(name, -1) for name in ("samples", "channels")]
    shape = tuple(n if n > 0 else node.unknown(0, axis) for axis, n in enumerate(asked))
    return [TensorType(_FLOAT, shape), TensorType(_INT32, ())]


@spectrogram.infer
def infer_spectrogram(node: NodeView) -> list[TensorType]:
    """Windows that lie inside the sound as a whole."""
    samples, channels = need_rank(node.input(0), 2, 2, "the sound").dims
    window, stride = node.attr("window", 0), node.attr("stride", 0)
    if window < 2 or stride < 1:
        raise ShapeError(f"a window of {window} samples and a stride of {stride} do not exist")
    frames: Dim = (samples - window) // stride + 1
    frames = max(frames, 0) if isinstance(frames, int) else node.unknown(0, 1)
    return [TensorType(_FLOAT, (channels, frames, fourier_length(window) // 2 + 1))]


def fourier_length(window: int) -> int:
    """The smallest power of two that holds the window."""
    return 1 << (window - 1).bit_length()


@mel_cepstrum.infer
def infer_mel_cepstrum(node: NodeView) -> list[TensorType]:
    """The last axis becomes the coefficients."""
    t = need_rank(node.input(0), 3, 3, "the spectrogram")
    return [TensorType(_FLOAT, (*t.dims[:2], node.attr("coefficients", 13)))]
