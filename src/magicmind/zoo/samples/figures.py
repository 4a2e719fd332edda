"""Tables of published figures, as the samples write them."""

from __future__ import annotations

from magicmind.zoo.recipe import Published

_MODES = {"fp32": "force_float32", "fp16": "force_float16", "int8": "qint8_mixed_float16"}


def table(names: str, text: str) -> tuple[Published, ...]:
    """Lines `mode batch board figures...`; mode is fp32, fp16 or int8, batch `-` where it does not matter."""
    found = []
    for line in text.strip().splitlines():
        mode, batch, board, *numbers = line.split()
        figures = dict(zip(names.split(), map(float, numbers), strict=True))
        found.append(Published(_MODES[mode], -1 if batch == "-" else int(batch), board, figures))
    return tuple(found)
