"""Det by numpy, ImageDecoder by pillow (the only host function that needs it)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.errors import Error
from magicmind.runtime.host import HostCall, host


@host("Det")
def det(call: HostCall) -> Sequence[Any]:
    """The determinants of the matrices in the last two dims."""
    x = call.inputs[0]
    return [np.asarray(np.linalg.det(x)).astype(x.dtype)]


@host("ImageDecoder")
def image_decoder(call: HostCall) -> Sequence[Any]:
    """The picture in the order of channels that `pixel_format` says. Raises Error without pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise Error("ImageDecoder needs pillow", hint="pip install pillow") from error
    form = call.attr("pixel_format", "RGB")
    with Image.open(io.BytesIO(call.inputs[0].tobytes())) as image:
        pixels = np.array(image.convert("L" if form == "Grayscale" else "RGB"))
    if form == "Grayscale":
        return [pixels[:, :, None]]
    return [pixels[:, :, ::-1] if form == "BGR" else pixels]


@host("com.microsoft.Inverse")
def inverse(call: HostCall) -> Sequence[Any]:
    """Of the matrices in the last two dims."""
    x = call.inputs[0]
    return [np.linalg.inv(x.astype(np.float64)).astype(x.dtype)]
