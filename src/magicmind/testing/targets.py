"""The targets that kernel tests are repeated for."""

from __future__ import annotations

import pytest

from magicmind.testing.emulate import emulated_targets
from magicmind.testing.run_kernel import runnable_targets

SIMILAR = ("alderlake", "cascadelake", "sapphirerapids")
"""Targets that no family of float kernels tells from another one of their vector width."""

KERNEL_TARGETS = [
    # AVX2 differs from the others in few places.
    pytest.param(name, marks=[pytest.mark.slow] if name == "x86-64-v3" else [])
    for name in runnable_targets()
    if name not in SIMILAR
]
"""For `parametrize`: one target per vector width that this CPU runs."""


def emulated(*names: str) -> list[object]:
    """For `parametrize`: targets that run here or under an emulator; skipped where neither can."""
    possible = [*runnable_targets(), *emulated_targets()]
    return [pytest.param(name, marks=_marks(name, name in possible)) for name in names]


def _marks(name: str, possible: bool) -> list[pytest.MarkDecorator]:
    package = "qemu-user" if name == "aarch64" else "bochs"
    return [
        # A start of Bochs takes a third of a second.
        *([] if name == "aarch64" else [pytest.mark.slow]),
        *([] if possible else [pytest.mark.skip(reason=f"needs {package} (Debian package) to run {name}")]),
    ]
