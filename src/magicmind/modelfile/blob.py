"""A flat piece of machine code and where its entry points are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Blob:
    """Position-independent code and constants, to be mapped read+execute at a multiple of 4096.

    `symbols`: exported name -> offset in `data`.
    """

    data: bytes
    symbols: Mapping[str, int]
