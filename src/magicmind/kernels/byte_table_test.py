"""Every byte through a random table, around the sizes where vectors end."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.codegen.builder import Param
from magicmind.codegen.llvm import assembly
from magicmind.codegen.target import find_target
from magicmind.kernels.byte_table import ByteTable
from magicmind.testing.run_kernel import emulated_targets, run_kernel, runnable_targets


@pytest.mark.parametrize("target", [*runnable_targets(), *emulated_targets()])
def test_every_byte(target: str) -> None:
    rng = np.random.default_rng(3)
    table, x = rng.integers(0, 256, 256).astype(np.uint8), rng.permutation(np.arange(331) % 256).astype(np.uint8)
    out = np.zeros_like(x)
    run_kernel(ByteTable(x.size), [x, table, out], target=target, nthreads=2)
    np.testing.assert_array_equal(out, table[x])


@pytest.mark.parametrize("target", runnable_targets())
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 33, 70000])
def test_sizes_at_run_time(count: int, target: str) -> None:
    rng = np.random.default_rng(count)
    table, x = (rng.integers(0, 256, n).astype(np.uint8) for n in (256, count))
    out = np.zeros_like(x)
    run_kernel(ByteTable(Param(0)), [x, table, out], [count], target, 3)
    np.testing.assert_array_equal(out, table[x])


@pytest.mark.parametrize(("name", "instruction"), [("x86-64-v4", "vpshufb"), ("aarch64", "tbl")])
def test_instruction(name: str, instruction: str) -> None:
    target = find_target(name)
    assert assembly(ByteTable(1000).build(target, "f").finish(), target).count(instruction) == 16
