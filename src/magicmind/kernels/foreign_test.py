"""Kernels compile for machines other than this one, without external symbols."""

from __future__ import annotations

import pytest

from magicmind.codegen.builder import Param
from magicmind.codegen.target import find_target
from magicmind.kernels.attention import Attention, Mask, View
from magicmind.kernels.conv.shape import ConvShape
from magicmind.kernels.conv.types import ConvTypes
from magicmind.kernels.conv.winograd import WinogradConv, WinogradSchedule
from magicmind.kernels.conv.winograd_weights import WinogradWeights
from magicmind.kernels.gather import Lookup
from magicmind.kernels.global_pool import GlobalPool
from magicmind.kernels.move import Copy
from magicmind.kernels.normalize import Normalize
from magicmind.kernels.pad import Pad
from magicmind.kernels.pool import Pool, Reduction, Window
from magicmind.kernels.recurrent import Activation, Recurrent
from magicmind.kernels.reorder import Reorder
from magicmind.kernels.resize import Resample
from magicmind.kernels.resize_tables import MakeTable, Sampling
from magicmind.lower.native import compile_kernel

HALVES = ConvTypes("f16", "f32", "f16")
_SIGMOID_TANH = ((Activation("Sigmoid"), Activation("Tanh")),)
_ROWS = View(Param(1), 16, 64)
SPECS = [
    Attention(1, 4, Param(0), Param(0), 16, 16, _ROWS, _ROWS, _ROWS, _ROWS, 0.25, 1, Mask(View(0, 0, Param(0)), -1.0)),
    Attention(1, 4, Param(0), Param(0), 16, 16, _ROWS, _ROWS, _ROWS, _ROWS, dtype="f16"),
    Normalize("f16", Param(0), 1, 768, 1, 1e-5, parameters="f32"),
    WinogradWeights(4, 2, 3, 5, "f16"),
    WinogradConv(ConvShape(1, 1, 32, 40, 9, 9, 9, 9, 3, 3), WinogradSchedule(4, 3, 1, 5, 1), types=HALVES),
    Recurrent("GRU", Param(0), 2, 40, (False,), _SIGMOID_TANH, 1, False, weights="f16", result="f16"),
    Pool(Reduction("max"), Param(0), (Window(Param(1), Param(2), 3, 2, 1, 1, 1), Window(112, 56, 3, 2, 1, 1, 1)), 16),
    Pool(Reduction("avg"), 4, (Window(14, 7, 2, 2),), 1),
    GlobalPool(Reduction("lp"), 4, Param(0), 1),
    Reorder(True, 1, Param(0), 49),
    Reorder(False, 1, 24, 49, "i8"),
    Copy((8, Param(0)), (1, 8), (Param(0), 1)),
    Copy((64,), (0,), (1,), "i8"),
    Pad("constant", (4, 5), (1, 1), (6, 7)),
    Lookup(1, 7, (5,), Param(0), True),
    Resample(4, (5, 6), (10, 12), (2, 2), 16, True),
    Resample(4, (5, 6), (10, 12), (4, 4), 1, True),
    MakeTable(Sampling("cubic", "half_pixel_symmetric", exclude_outside=True), Param(0), Param(1)),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_compiles(spec: Pool) -> None:
    for target in ("aarch64", "x86-64-v2", "cascadelake"):
        code, _ = compile_kernel(spec, find_target(target))
        assert code
