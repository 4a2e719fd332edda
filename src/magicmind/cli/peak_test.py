from __future__ import annotations

import numpy as np
import pytest

from magicmind.cli import peak
from magicmind.codegen.target import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_chains_fit_the_registers(name: str) -> None:
    target = TARGETS[name]
    assert 0 < peak.accumulators(target) * target.registers_per_block <= target.vregs - 3


def test_more_than_a_handful_and_no_more_than_any_core_can() -> None:
    # 64 multiply-adds per cycle and core at 6 GHz is beyond every CPU; one at 100 MHz below.
    assert 0.2 < peak.measured_gflops(1) < 768
    assert np.isfinite(peak.measured_gflops(2))
