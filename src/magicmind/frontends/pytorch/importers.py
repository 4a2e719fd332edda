"""The table of importers: how ATen operators are written in the unified graph.

    @aten("relu")
    def relu(c: Converter, x: Tensor) -> Value:
        return c.net.op("Relu", c.value(x))

An importer gets all arguments of the operator's schema in order, keyword-only and defaulted ones included, and returns
values of the graph, Python numbers, or lists and tuples of them. Operators whose arguments are all known at conversion
are computed by torch itself and need no importer, but for those marked `python=True`, which change their arguments or
work on Python's own types. The in-place form `name_` is `name` put into place, unless it has an importer of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from magicmind.frontends.pytorch.plugins import plugin_importer

Importer = Callable[..., Any]

IMPORTERS: dict[str, Importer] = {}


PYTHON: set[str] = set()
"""Operators that are called even when all arguments are known."""


_F = TypeVar("_F", bound=Importer)


ON_COMPLEX: dict[str, Importer] = {}
"""Importers of operators on complex tensors."""

ON_PARTS = {f"aten::{name}" for name in (
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze", "expand", "permute", "transpose",
    "t", "movedim", "flip", "roll", "slice", "select", "narrow", "index_select", "index", "cat", "stack", "split",
    "split_with_sizes", "chunk", "unbind", "repeat", "neg", "sum", "mean", "cumsum", "pad", "constant_pad_nd",
    "contiguous", "clone", "alias", "detach", "resolve_conj", "resolve_neg", "lift_fresh_copy",
)}  # fmt: skip
"""Operators that do the same to the real and to the imaginary parts."""

ON_QUANTISED: dict[str, Importer] = {}
"""Importers of operators of which quantised tensors have their own."""

ON_WHOLE = ON_PARTS - {f"aten::{name}" for name in (
    "cat", "stack", "neg", "sum", "mean", "cumsum", "pad", "constant_pad_nd", "resolve_conj", "resolve_neg",
)} | {"aten::pixel_shuffle", "aten::channel_shuffle"}  # fmt: skip
"""Operators that move the whole numbers of one quantised tensor."""

KEEPS_STEPS = {f"aten::{name}" for name in (
    "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "leaky_relu", "elu", "gelu", "threshold",
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "mean", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_nearest3d", "upsample_bilinear2d", "cat", "stack", "pad", "constant_pad_nd", "reflection_pad2d",
    "dropout",
)}  # fmt: skip
"""Operators whose quantised result has the scale and zero point of the first quantised tensor that they read."""


def aten(*names: str, python: bool = False, on_complex: bool = False, on_quantised: bool = False) -> Callable[[_F], _F]:
    """Registers an importer for operators of the namespace `aten`; one of another is named in full (`prim::data`)."""

    def register(importer: _F) -> _F:
        table = ON_COMPLEX if on_complex else ON_QUANTISED if on_quantised else IMPORTERS
        for name in names:
            full = name if "::" in name else f"aten::{name}"
            assert full not in table, f"{full} has two importers"
            table[full] = importer
            if python:
                PYTHON.add(full)
        return importer

    return register


def find(name: str) -> Importer | None:
    """The importer of an operator, `namespace::name`: one of ours, or of a plugin."""
    return IMPORTERS.get(name) or plugin_importer(name)


__all__ = [
    "IMPORTERS", "KEEPS_STEPS", "ON_COMPLEX", "ON_PARTS", "ON_QUANTISED", "ON_WHOLE", "PYTHON", "aten", "find",
]  # fmt: skip
