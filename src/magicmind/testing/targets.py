"""The targets that kernel tests are repeated for."""

from __future__ import annotations

import pytest

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
