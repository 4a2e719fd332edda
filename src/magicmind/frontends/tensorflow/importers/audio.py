"""Sound, from the bytes of a file to mel cepstra: host steps."""

from __future__ import annotations

from magicmind.errors import ModelFormatError
from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.ops.emitter import Value
from magicmind.ops.fused import DOMAIN


@importer("DecodeWav", host=True)
def decode_wav(c: Call) -> list[Value]:
    """The samples of a WAV file and its rate."""
    asked = {name: int(c.attr(f"desired_{name}", -1)) for name in ("samples", "channels")}
    made = c.net.ops("DecodeWav", c.x, domain=DOMAIN, count=2, samples=asked["samples"], channels=asked["channels"])
    return list(made)


@importer("AudioSpectrogram", host=True)
def spectrogram(c: Call) -> Value:
    """The spectrum of every window."""
    sizes = {name: int(c.attr(f"{name}_size" if name == "window" else name, 0)) for name in ("window", "stride")}
    if sizes["window"] < 2 or sizes["stride"] < 1:
        raise ModelFormatError(f"window_size = {sizes['window']} and stride = {sizes['stride']} do not exist")
    squared = int(bool(c.attr("magnitude_squared", False)))
    return c.net.op("Spectrogram", c.x, domain=DOMAIN, window=sizes["window"], stride=sizes["stride"], squared=squared)


@importer("Mfcc", host=True)
def mfcc(c: Call) -> Value:
    """The mel cepstrum of a spectrogram."""
    return c.net.op(
        "MelCepstrum",
        c.x,
        c.value(1),
        domain=DOMAIN,
        low=float(c.attr("lower_frequency_limit", 20.0)),
        high=float(c.attr("upper_frequency_limit", 4000.0)),
        bands=int(c.attr("filterbank_channel_count", 40)),
        coefficients=int(c.attr("dct_coefficient_count", 13)),
    )
