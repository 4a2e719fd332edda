"""The targets that kernel tests are repeated for."""

from __future__ import annotations

import pytest

from magicmind.testing.run_kernel import runnable_targets

KERNEL_TARGETS = [
    # No kernel family tested this way tells cascadelake from x86-64-v4. AVX2 differs from the others in few places.
    pytest.param(name, marks=[pytest.mark.slow] if name == "x86-64-v3" else [])
    for name in runnable_targets()
    if name != "cascadelake"
]
"""For `parametrize`: one target per vector width that this CPU runs."""
