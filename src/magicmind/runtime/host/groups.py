"""Products of runs of rows. `ops/grouped_matmul.py` says what the operator takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.runtime.host import HostCall, host


@host("magicmind.GroupedMatMul")
def grouped_matmul(call: HostCall) -> Sequence[Any]:
    """One product for each run that has rows. Ends beyond the rows, or in no order, leave runs short or empty."""
    x, weights, ends = call.inputs
    result = np.zeros((len(x), weights.shape[2]), x.dtype)
    start = 0
    for matrix, end in zip(weights, ends, strict=True):
        stop = min(int(end), len(x))
        if stop > start:
            np.matmul(x[start:stop], matrix, out=result[start:stop])
            start = stop
    return [result]
