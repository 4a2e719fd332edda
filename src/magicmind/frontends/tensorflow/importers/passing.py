"""Nodes that hold a constant, pass their input on, or check something."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.items import Complex, Item


@importer("Const", "HostConst")
def const(c: Call) -> Item:
    """A constant."""
    array = c.node.tensor("value")
    if array.dtype.kind == "c":
        return Complex(*(c.net.const(np.ascontiguousarray(part)) for part in (array.real, array.imag)))
    return c.net.const(array)


@importer("Identity", "StopGradient", "CheckNumerics", "CheckNumericsV2", "PreventGradient", "Snapshot",
    "PlaceholderWithDefault", "EnsureShape", "Print", "DebugIdentity", "IdentityN", "LoopCond")  # fmt: skip
def identity(c: Call) -> Sequence[Item]:
    """Passes its inputs on."""
    return c.inputs


@importer("NoOp", "Assert")
def nothing(c: Call) -> Sequence[Item]:
    """No result: it orders nodes, or stops the program where data is not as expected."""
    return []
