"""Convolution weights in the order the kernels read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from magicmind.codegen.target import BLOCK

FloatArray = npt.NDArray[np.float32]
Weights = npt.NDArray[Any]
"""Of the type that memory holds: float32, float16 or int8."""


def pad_axis(array: npt.NDArray[Any], axis: int, multiple: int) -> npt.NDArray[Any]:
    """Zeros at the end of `axis` up to a multiple."""
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, -array.shape[axis] % multiple)
    return np.pad(array, widths)


def pack_chunks(weights: Weights, nr: int, kr: int = 1) -> Weights:
    """[..., k, oc] -> chunks of `nr` output channel blocks, each [..., k/kr, nr*16, kr], the last one shorter. Flat.

    `oc` is a multiple of 16; `k` is padded with zeros to a multiple of `kr`, the numbers of one lane that a target
    multiplies at once (`codegen/dot.py`).
    """
    padded = pad_axis(weights, weights.ndim - 2, kr)
    *outer, depth, oc = padded.shape
    steps = np.moveaxis(padded.reshape(*outer, depth // kr, kr, oc), -1, -2)
    pieces = [steps[..., first : first + nr * BLOCK, :] for first in range(0, oc, nr * BLOCK)]
    return np.concatenate([np.ascontiguousarray(piece).ravel() for piece in pieces])


def pack_direct(w: Weights, groups: int, nr: int, kr: int = 1) -> Weights:
    """w[groups*oc, ic, kh, kw] -> [group][chunk][ic block][kh][kw][16/kr ic][nr * 16 oc][kr], padded with zeros."""
    total, ic, kh, kw = w.shape
    packed = []
    for group in w.reshape(groups, total // groups, ic, kh, kw):
        padded = pad_axis(pad_axis(group, 0, BLOCK), 1, BLOCK)
        by_block = padded.reshape(padded.shape[0], -1, BLOCK, kh, kw).transpose(1, 3, 4, 2, 0)
        packed.append(pack_chunks(by_block, nr, kr))
    return np.concatenate(packed)


def pack_few_channels(w: Weights, nr: int, kr: int = 1, run: int = 1) -> Weights:
    """w[oc, ic, kh, kw] -> [chunk][kh][kw/run][run * ic / kr][nr * 16 oc][kr]: no padding to blocks of input channels.

    `run` taps of a window row are one run of numbers, which is padded to whole steps of `kr`.
    """
    _, ic, kh, kw = w.shape
    columns = pad_axis(w, 0, BLOCK).transpose(2, 3, 1, 0)
    return pack_chunks(columns.reshape(kh, kw // run, run * ic, -1), nr, kr)


def pack_depthwise(w: Weights) -> Weights:
    """w[c, 1, kh, kw] -> [c block][kh][kw][16]."""
    kh, kw = w.shape[2:]
    return pad_axis(w, 0, BLOCK).reshape(-1, BLOCK, kh, kw).transpose(0, 2, 3, 1).ravel()


def pack_bias(bias: Weights | None, groups: int, oc: int) -> Weights:
    """One value per output channel, each group padded to whole blocks; float32 zeros when there is none."""
    values = np.zeros(groups * oc, np.float32) if bias is None else bias
    return pad_axis(values.reshape(groups, oc), 1, BLOCK).ravel()


def merge_groups(w: Weights, groups: int, together: int) -> Weights:
    """Weights of `together` neighbouring groups as one block-diagonal group.

    w[groups*oc, ic, kh, kw] -> [groups*oc, together*ic, kh, kw]: groups whose channels do not fill blocks of 16 become
    fewer, denser ones.
    """
    total, ic, kh, kw = w.shape
    oc = total // groups
    merged = np.zeros((groups // together, together, oc, together, ic, kh, kw), w.dtype)
    source = w.reshape(groups // together, together, oc, ic, kh, kw)
    for t in range(together):
        merged[:, t, :, t] = source[:, t]
    return merged.reshape(total, together * ic, kh, kw)


def pack_axis_zeros(values: Weights) -> Weights:
    """One value per channel, padded with zeros to whole blocks."""
    return pad_axis(values, 0, BLOCK)
