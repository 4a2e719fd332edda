"""Operators that run as numpy functions: one file per family, found by the operator's name when a plan needs it.

    @host("NonZero")
    def non_zero(call: HostCall) -> Sequence[Any]: ...

A function gets views of the call's memory: it must not write to its inputs, and may return views of them. Tensors are
numpy arrays (strings: arrays of `object`), sequences are lists, an optional without content is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from magicmind.errors import OfflineModelError
from magicmind.modelfile.abi import PLUGIN

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Body: TypeAlias = Callable[[Sequence[Any]], list[Any]]
"""A nested graph: its captured values, then its formal inputs; its outputs."""


@dataclass(frozen=True)
class HostCall:
    """What a host function sees. `inputs`: None where absent. `attributes`: those of the node, defaults left out."""

    inputs: Sequence[Any]
    attributes: Mapping[str, Any]
    outputs: int
    """How many outputs the node lists."""
    dtypes: Sequence[np.dtype[Any] | None]
    """Of the outputs; None for unused ones."""
    shapes: Sequence[tuple[int | None, ...] | None]
    """Of the outputs, None where only the data tells: a dim, or the rank."""

    def input(self, i: int) -> Any:
        """Input `i`, None when absent."""
        return self.inputs[i] if i < len(self.inputs) else None

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute: int, float, str, a list of them, an array, or a Body."""
        return self.attributes.get(name, default)


LOAD_PLUGIN = "load the file that registers it: magicmind.plugin.load_plugins([FILE.py]), or --plugin_path FILE.py"

HostFunction: TypeAlias = Callable[[HostCall], Sequence[Any]]
_FUNCTIONS: dict[str, HostFunction] = {}

_FAMILIES = (
    "selection", "control", "late", "sequences", "strings", "random", "signals", "images", "labels", "detection",
    "regions", "rare", "audio", "groups",
)  # fmt: skip


def host(*names: str) -> Callable[[HostFunction], HostFunction]:
    """Registers a function under the operators' names (`domain.Name` outside of the ONNX domain)."""

    def register(function: HostFunction) -> HostFunction:
        for name in names:
            assert name not in _FUNCTIONS, f"host function {name} is registered twice"
            _FUNCTIONS[name] = function
        return function

    return register


def withdraw(name: str) -> None:
    """Forgets the function of a plugin, if it has one."""
    _FUNCTIONS.pop(name, None)


def missing_plugins(names: Iterable[str]) -> list[str]:
    """Which of these plugins (`domain.Name`) have no function here."""
    return [name for name in names if PLUGIN + name not in _FUNCTIONS]


def host_function(name: str, where: str) -> HostFunction:
    """The function of that name. Raises OfflineModelError when this version has none, or no such plugin is loaded."""
    if name.startswith(PLUGIN) and name not in _FUNCTIONS:
        raise OfflineModelError(f"{where}: the plugin {name.removeprefix(PLUGIN)} is not registered", hint=LOAD_PLUGIN)
    for family in _FAMILIES:
        if name in _FUNCTIONS:
            break
        import_module(f"{__name__}.{family}")
    if name not in _FUNCTIONS:
        raise OfflineModelError(f"{where}: this version has no host function {name!r}", hint="build the model again")
    return _FUNCTIONS[name]


__all__ = [
    "LOAD_PLUGIN",
    "PLUGIN",
    "Array",
    "Body",
    "HostCall",
    "HostFunction",
    "host",
    "host_function",
    "missing_plugins",
    "withdraw",
]
