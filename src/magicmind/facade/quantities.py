"""Ranges, and the two forms in which MagicMind's programs write what numbers a range's integers stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from magicmind.facade.enums import RoundingMode
from magicmind.facade.status import Refused, or_none

_MOST_BITS = 16


@dataclass
class Range:
    """The least and the greatest value of a tensor."""

    min: float = 0.0
    max: float = 0.0


@dataclass
class UniformQuantParam:
    """An integer q stands for (q - offset) * scale."""

    scale: float = 1.0
    offset: int = 0


@dataclass
class NormalQuantParam:
    """An integer q stands for (q - offset) * 2**pos / scale, the scale being from 1 to 2."""

    pos: int = 0
    scale: float = 1.0
    offset: int = 0


def range_of(value: Any, what: str = "a range") -> Range:
    """From a Range, or (min, max).  Raises Refused for anything else, also for ends that are not finite."""
    try:
        low, high = (value.min, value.max) if isinstance(value, Range) else value
        low, high = float(low), float(high)
    except (TypeError, ValueError):
        raise Refused(f"{what}: {value!r:.60} is no range", hint="a Range, or (min, max)") from None
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise Refused(f"{what}: [{low}, {high}] is no range", hint="two finite numbers, the smaller first")
    return Range(low, high)


@or_none
def range_to_uniform_quant_param(
    value: Any,
    bit_width: int = 8,
    algorithm: str = "symmetric",
    rounding: Any = RoundingMode.ROUND_HALF_TO_EVEN,
) -> UniformQuantParam:
    """The scale, and where it is asymmetric the offset, of signed integers of so many bits that hold a range."""
    found, top = range_of(value), _greatest(bit_width)
    if rounding is not RoundingMode.ROUND_HALF_TO_EVEN:
        raise Refused(f"rounding {rounding!r:.60}: ROUND_HALF_TO_EVEN is known")
    if _is_symmetric(algorithm):
        return UniformQuantParam(max(-found.min, found.max) / top or 1.0, 0)
    low, high = min(found.min, 0.0), max(found.max, 0.0)
    scale = (high - low) / (2 * top + 1) or 1.0
    return UniformQuantParam(scale, round(-low / scale) - top - 1)


@or_none
def uniform_quant_param_to_range(param: Any, bit_width: int = 8, algorithm: str = "symmetric") -> Range:
    """The range that the integers of so many bits reach; of symmetric ones without the least."""
    if not isinstance(param, UniformQuantParam):
        raise Refused(f"{param!r:.60} is no UniformQuantParam")
    top = _greatest(bit_width)
    least = -top if _is_symmetric(algorithm) else -top - 1
    return Range((least - param.offset) * param.scale, (top - param.offset) * param.scale)


@or_none
def normal_to_uniform_cast(param: Any) -> UniformQuantParam:
    """The same numbers in the other form."""
    return uniform_of(param)


def uniform_of(param: Any) -> UniformQuantParam:
    """Raises Refused for what is neither form."""
    if isinstance(param, UniformQuantParam):
        return param
    if not isinstance(param, NormalQuantParam) or not param.scale > 0:
        raise Refused(f"{param!r:.80} is no NormalQuantParam with a scale above zero")
    return UniformQuantParam(2.0**param.pos / param.scale, param.offset)


@or_none
def uniform_to_normal_cast(param: Any) -> NormalQuantParam:
    """The same numbers in the other form."""
    if not isinstance(param, UniformQuantParam) or not param.scale > 0:
        raise Refused(f"{param!r:.80} is no UniformQuantParam with a scale above zero")
    pos = math.ceil(math.log2(param.scale))
    return NormalQuantParam(pos, 2.0**pos / param.scale, param.offset)


def _greatest(bits: Any) -> int:
    """The greatest integer.  Raises Refused."""
    if not isinstance(bits, int) or not 2 <= bits <= _MOST_BITS:
        raise Refused(f"{bits!r:.60} bits: 2 to {_MOST_BITS} are known")
    return (1 << bits - 1) - 1


def _is_symmetric(algorithm: Any) -> bool:
    if algorithm not in ("symmetric", "asymmetric"):
        raise Refused(f"{algorithm!r:.60} is neither symmetric nor asymmetric")
    return bool(algorithm == "symmetric")
