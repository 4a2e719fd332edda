"""Vectors of every second, third, ... element."""

from __future__ import annotations

from magicmind.codegen.builder import Kernel, Pointer, Vec
from magicmind.kernels.scalar import load_value


def load_strided(k: Kernel, p: Pointer, stride: int, lanes: int) -> Vec:
    """p[0], p[stride], ..., `lanes` of them, as computed with, out of whole vectors: reads lanes * stride elements
    (stride 1 or 2)."""
    first = load_value(p, lanes)
    if stride == 1:
        return first
    return k.shuffle(first, load_value(p, lanes, at=lanes), range(0, 2 * lanes, 2))
