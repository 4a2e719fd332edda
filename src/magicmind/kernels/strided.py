"""Vectors of every second, third, ... element."""

from __future__ import annotations

from magicmind.codegen.builder import Kernel, Pointer, Vec


def load_strided(k: Kernel, p: Pointer, stride: int, lanes: int) -> Vec:
    """p[0], p[stride], ..., `lanes` of them, out of whole vectors: reads lanes * stride elements (stride 1 or 2)."""
    first = p.load(lanes)
    if stride == 1:
        return first
    return k.shuffle(first, p.load(lanes, at=lanes), range(0, 2 * lanes, 2))
