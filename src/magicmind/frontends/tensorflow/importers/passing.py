"""Nodes that hold a constant, pass their input on, or check something."""

from __future__ import annotations

from collections.abc import Sequence

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.items import Item
from magicmind.ops.emitter import Value


@importer("Const", "HostConst")
def const(c: Call) -> Value:
    """A constant."""
    return c.net.const(c.node.tensor("value"))


@importer("Identity", "StopGradient", "CheckNumerics", "CheckNumericsV2", "PreventGradient", "Snapshot",
    "PlaceholderWithDefault", "EnsureShape", "Print", "DebugIdentity", "IdentityN", "LoopCond")  # fmt: skip
def identity(c: Call) -> Sequence[Item]:
    """Passes its inputs on."""
    return c.inputs


@importer("NoOp", "Assert")
def nothing(c: Call) -> Sequence[Item]:
    """No result: it orders nodes, or stops the program where data is not as expected."""
    return []
