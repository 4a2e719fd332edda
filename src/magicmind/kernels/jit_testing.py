"""Runs kernels that read some arrays and write others. For tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from magicmind.lower.plan import KernelSpec
from magicmind.testing.run_kernel import run_kernel, runnable_targets
from magicmind.testing.targets import SIMILAR

Array = npt.NDArray[Any]
X86 = [name for name in runnable_targets() if name not in SIMILAR]


def run(
    spec: KernelSpec,
    target: str,
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    params: Sequence[int] = (),
    threads: int = 1,
    scratch: int = 0,
) -> list[Array]:
    """New arrays with what the kernel leaves where `outputs` were. Inputs must stay as they are."""
    read, written = [np.array(a) for a in inputs], [np.array(a) for a in outputs]
    run_kernel(spec, [*read, *written], params, target, threads, scratch)
    for before, after in zip(inputs, read, strict=True):
        np.testing.assert_array_equal(before, after)
    return written
