"""Whether what a kernel's epilogue rounds to bytes needs a limit first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.ir.scalar import ScalarProgram, Var
from magicmind.ir.scalar_range import Interval, intervals

Array = np.ndarray[Any, np.dtype[Any]]

_INT32: Interval = (-(2.0**31), 2.0**31)
_INTEGERS: dict[str, Interval] = {"u8": (0, 255), "i8": (-128, 127), "i16": (-(2**15), 2**15 - 1), "i32": _INT32}
_MOST = 2.0**30
"""Well within an int32."""


def fits_int32(program: ScalarProgram, sums: str, operands: Sequence[tuple[str, Array | None]]) -> bool:
    """Whether the number that `program` quantises at its end lies within an int32, whatever the inputs.

    sums: type of `acc`; operands: type, and value where it is constant, of `x0`, `x1`, ...
    """
    last = program.statements[-1]
    if last.op != "Quantise" or not isinstance(last.args[0], Var):
        return False
    integers = {f"x{i}": _INTEGERS[dtype] for i, (dtype, _) in enumerate(operands) if dtype in _INTEGERS}
    if sums in _INTEGERS:
        integers["acc"] = _INTEGERS[sums]
    floats = {
        f"x{i}": (float(array.min()), float(array.max()))
        for i, (dtype, array) in enumerate(operands)
        if dtype == "f32" and array is not None and array.size
    }
    low, high = intervals(program, integers, floats)[last.args[0].name]
    return low > -_MOST and high < _MOST
