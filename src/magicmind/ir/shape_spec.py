"""How people write dims of inputs: `1`, `"1..64"`, `"1.."`, `"n=1..64"`, `"n"` or a tuple `(1, 64)`."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from magicmind.errors import ShapeError
from magicmind.ir.dims import DATA_PREFIX, Dim, symbol

Range: TypeAlias = tuple[int, int | None]
DimSpec: TypeAlias = int | str | tuple[int, int | None]
ShapeSpecs: TypeAlias = Mapping[str, Sequence[DimSpec]] | Sequence[Sequence[DimSpec]]

ANY: Range = (1, None)

_TEXT = re.compile(r"\s*(?:(?P<name>\w+)\s*=)?\s*(?P<low>\d+)\s*(?:(?P<dots>\.\.)\s*(?P<high>\d*))?\s*")
_HINT = 'a dimension is a number, "lo..hi", "lo.." (no upper bound), "name=lo..hi", "name" or (lo, hi)'


def parse_dim_spec(spec: object, default_symbol: str) -> tuple[Dim, Range | None]:
    """The dim that `spec` means and, for a symbol, its range.

    A range without a name makes the symbol `default_symbol`; one of a single number is that number.  The symbol of a
    range that begins at 0 has the prefix by which shape arithmetic knows that it may be 0.
    Raises ShapeError for anything else, for negative numbers and for a dim that is always 0.
    """
    name, low, high = _split(spec)
    if low < 0 or (high is not None and (high < low or high == 0)):
        raise ShapeError(f"{spec!r} is not a dimension: hi must be at least 1, and lo at most hi", hint=_HINT)
    if low == high:
        return low, None
    text = sanitise(name or default_symbol)
    return symbol(text if low or text.startswith(DATA_PREFIX) else DATA_PREFIX + text), (low, high)


def _split(spec: object) -> tuple[str, int, int | None]:
    if isinstance(spec, str):
        match = _TEXT.fullmatch(spec)
        if match:
            low = int(match["low"])
            end = match["high"] if match["dots"] else match["low"]
            return match["name"] or "", low, int(end) if end else None
        if spec.strip().isidentifier():
            return spec.strip(), *ANY
    elif isinstance(spec, (tuple, list)) and len(spec) == 2:
        first, last = _integer(spec[0]), _integer(spec[1])
        if first is not None and (last is not None or spec[1] is None):
            return "", first, last
    else:
        number = _integer(spec)
        if number is not None:
            return "", number, number
    raise ShapeError(f"{spec!r} is not a dimension", hint=_HINT)


def _integer(value: object) -> int | None:
    """`value` as an int, numpy's integers included; None for bools, floats and all else."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    return int(value.__index__())


def sanitise(name: str) -> str:
    """`name` as an identifier that can name a symbol: `batch size` becomes `batch_size`, `1st` becomes `_1st`."""
    text = re.sub(r"\W", "_", name) or "_"
    text = f"_{text}" if text[0].isdigit() else text
    return f"{text}_" if keyword.iskeyword(text) or text in ("min", "max") else text


class SymbolTable:
    """The symbols of one model with their ranges; what several inputs say about one symbol is intersected."""

    def __init__(self, ranges: Mapping[str, Range] | None = None) -> None:
        self.ranges: dict[str, Range] = dict(ranges or {})

    def add(self, name: str, allowed: Range) -> None:
        """Narrows the range of `name`.  Raises ShapeError when nothing is left."""
        low, high = self.ranges.get(name, (0, None))
        low = max(low, allowed[0])
        high = min((h for h in (high, allowed[1]) if h is not None), default=None)
        if high is not None and low > high:
            raise ShapeError(f"the ranges given for dimension {name!r} have no number in common")
        self.ranges[name] = (low, high)

    def fixed(self) -> dict[str, Dim]:
        """The symbols that can have one value only."""
        return {name: low for name, (low, high) in self.ranges.items() if low == high}


def by_name(specs: ShapeSpecs | None, inputs: Sequence[str]) -> dict[str, Sequence[DimSpec]]:
    """Shapes by input name, from a dict or a list in argument order.  Raises ShapeError for unknown or surplus ones."""
    if specs is None:
        return {}
    if isinstance(specs, Mapping):
        unknown = [name for name in specs if name not in inputs]
        if unknown:
            raise ShapeError(f"there is no input {unknown[0]!r}", hint=f"the inputs are: {', '.join(inputs)}")
        return dict(specs)
    if isinstance(specs, str) or len(specs) > len(inputs):
        raise ShapeError(f"shapes {specs!r} do not fit the {len(inputs)} inputs {', '.join(inputs)}")
    return dict(zip(inputs, specs, strict=False))
