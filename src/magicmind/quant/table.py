"""Scales as a table: made by calibration, saved as JSON, edited by hand, loaded, and checked against a graph.

The file: `tensors` holds for each tensor its scale, zero point, dtype and algorithm; an entry that has `min` and `max`
instead of a scale gets the rest from them, and one that has both is refused where they tell different things. `seen`
are the smallest and the largest value, from which 16 bits get their range. `provenance` says where they come from.
`means` are the means per channel of what products read, for bias correction; `peaks` are magnitudes that float16 may
not hold; `factors` are what the channels that convolutions read were multiplied by (`quant/stretch.py`), and belong to
the scales of these tensors. MagicMind's custom ranges, {tensor: [min, max]}, are read as well.
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import PrecisionError
from magicmind.modelfile.writer import replace_file
from magicmind.quant.scales import TensorScale, scale_of

FORMAT = "magicmind scales"
VERSION = 1
EVERY = ""
"""The name that stands for every tensor without a range of its own."""
HEADROOM = 2.0
"""How far the range of 16 bits reaches beyond what was seen."""
NOT_ACCURATE = "calibrated on random data: not accurate"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Scales:
    """The scale of every tensor that may become integers, and where they come from."""

    tensors: Mapping[str, TensorScale]
    means: Mapping[str, Array] = field(default_factory=dict)
    peaks: Mapping[str, float] = field(default_factory=dict)
    samples: int = 0
    random: bool = False
    equalised: bool = False
    data: str = ""
    factors: Mapping[str, Array] = field(default_factory=dict)

    @property
    def remark(self) -> str:
        """What users have to know, or an empty text."""
        return NOT_ACCURATE if self.random else ""

    def of(self, tensor: str, bits: int, symmetric: bool = False) -> TensorScale:
        """The tensor's scale for integers of so many bits, made from its range where it is for others.

        16 bits take all that was seen, and `HEADROOM`: what 8 bits leave out to have finer steps, and what is seen for
        the first time, would be nearly all of their error.
        """
        entry = self.tensors[tensor] if tensor in self.tensors else self.tensors[EVERY]
        if np.iinfo(entry.dtype).bits == bits:
            return entry
        low, high = entry.low, entry.high
        if bits == 16 and entry.seen is not None:
            low, high = (HEADROOM * end for end in entry.seen)
        return scale_of(low, high, bits=bits, symmetric=symmetric, algorithm=entry.algorithm)

    def require(self, wanted: Iterable[str], known: Iterable[str]) -> None:
        """Raises PrecisionError unless there is a scale for every wanted tensor, and none for an unknown one."""
        known, problems = set(known), []
        unknown = [name for name in self.tensors if name not in known and name != EVERY]
        missing = [] if EVERY in self.tensors else [name for name in wanted if name not in self.tensors]
        if missing:
            problems.append(f"none for {_some(missing)}")
        if unknown:
            near = difflib.get_close_matches(unknown[0], sorted(known), n=3)
            problems.append(f"unknown {_some(unknown)}" + (f" (close: {', '.join(near)})" if near else ""))
        if problems:
            raise PrecisionError(
                f"the scales do not fit the network: {'; '.join(problems)}",
                hint="calibrate this network, for the same shapes of its inputs",
            )

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the scales come from, as JSON values."""
        found = {"samples": self.samples, "random": self.random, "equalised": self.equalised, "data": self.data}
        return found | ({"remark": self.remark} if self.remark else {})

    def to_json(self, *, ranges: bool = False) -> dict[str, Any]:
        """As it is saved; with the tensors' `ranges` nothing is rounded, but a scale cannot be edited alone."""
        tensors = {
            name: {"scale": s.scale, "zero_point": s.zero, "dtype": s.dtype, "algorithm": s.algorithm}
            | ({"seen": list(s.seen)} if s.seen is not None else {})
            | ({"min": s.low, "max": s.high} if ranges else {})
            for name, s in self.tensors.items()
        }
        means, factors = (
            {name: [float(np.float32(x)) for x in values] for name, values in lists.items()}
            for lists in (self.means, self.factors)
        )
        head = {"format": FORMAT, "version": VERSION, "provenance": self.provenance}
        return {**head, "tensors": tensors, "peaks": dict(self.peaks), "means": means, "factors": factors}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file, a line per tensor, replacing an older one in one step."""
        parts = []
        for key, value in self.to_json().items():
            if key in ("tensors", "means", "factors") and value:
                lines = [f"    {json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items()]
                parts.append(f"  {json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n  }")
            else:
                parts.append(f"  {json.dumps(key)}: {json.dumps(value)}")
        replace_file(Path(path), (memoryview(("{\n" + ",\n".join(parts) + "\n}\n").encode()),))

    @classmethod
    def given(cls, source: str | os.PathLike[str] | Mapping[str, Any], *, symmetric: bool = False) -> Scales:
        """From a file, or ranges by tensor. Raises PrecisionError."""
        if not isinstance(source, str | os.PathLike | Mapping):
            hint = "the path of a file that calibration wrote, Scales, or {tensor: (min, max)}"
            raise PrecisionError(f"scales are {type(source).__name__}", hint=hint)
        return cls.of_ranges(source, symmetric=symmetric) if isinstance(source, Mapping) else cls.load(source)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scales:
        """Reads a file that `save` wrote, edited or not, or custom ranges. Raises PrecisionError."""
        try:
            document = json.loads(Path(path).read_text())
        except OSError as error:
            raise PrecisionError(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise PrecisionError(f"{path} is not JSON: {error}") from error
        try:
            return cls.of_json(document)
        except PrecisionError as error:
            error.add_note(f"in {path}")
            raise

    @classmethod
    def of_json(cls, document: Any) -> Scales:
        """From what `to_json` gives, or from custom ranges. Raises PrecisionError."""
        if not isinstance(document, dict):
            raise PrecisionError("scales are a JSON object", hint="tensor: [min, max], or what calibration wrote")
        if "format" not in document:
            return cls.of_ranges(document)
        if document["format"] != FORMAT or document.get("version") != VERSION:
            found = f"{document['format']!r}, version {document.get('version')!r}"
            raise PrecisionError(f"this is {found}, not {FORMAT!r}, version {VERSION}")
        given, tensors, means, peaks, factors = (
            _section(document, key) for key in ("provenance", "tensors", "means", "peaks", "factors")
        )
        return cls(
            {name: _entry(name, entry) for name, entry in tensors.items()},
            {name: _numbers("means", name, values) for name, values in means.items()},
            {name: float(_numbers("peak", name, peak)) for name, peak in peaks.items()},
            samples=int(_numbers("number", "samples", given.get("samples", 0))),
            random=bool(given.get("random", False)),
            equalised=bool(given.get("equalised", False)),
            data=str(given.get("data", "")),
            factors=dict(map(_factors, factors.items())),
        )

    @classmethod
    def of_ranges(cls, ranges: Mapping[str, Any], *, symmetric: bool = False) -> Scales:
        """From {tensor: [min, max]} or {tensor: {"min": [..], "max": [..]}}; the name "" means every tensor."""
        found = {name: scale_of(*_range(name, given), symmetric=symmetric) for name, given in ranges.items()}
        return cls(found, data="ranges")


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _range(name: str, given: Any) -> tuple[float, float]:
    """[min, max], numbers or lists of one number."""
    ends: Any = [given.get("min"), given.get("max")] if isinstance(given, dict) else given
    try:
        low, high = (float(end[0]) if isinstance(end, list) else float(end) for end in ends)
    except (TypeError, ValueError, IndexError) as error:
        raise PrecisionError(f"the range of {name!r} is {given!r}", hint="write [min, max]") from error
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise PrecisionError(f"the range of {name!r} is {given!r}", hint="two finite numbers, the smaller first")
    return low, high


def _section(document: dict[str, Any], key: str) -> dict[str, Any]:
    """A part of the file by tensor. Raises PrecisionError."""
    found = document.get(key, {})
    if not isinstance(found, dict):
        raise PrecisionError(f"{key!r} is {found!r:.60}", hint="a JSON object, as calibration wrote it")
    return found


def _numbers(what: str, name: str, values: Any) -> Array:
    """Finite numbers, of any shape. Raises PrecisionError."""
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        found = np.full((), np.nan)
    if not np.isfinite(found).all():
        raise PrecisionError(f"the {what} of {name!r}: {values!r:.60}", hint="finite numbers")
    return found


def _factors(item: tuple[str, Any]) -> tuple[str, Array]:
    """A row of `factors`, checked."""
    name, values = item
    try:
        factors = np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError):
        factors = np.zeros(1)
    if not factors.size or not np.isfinite(factors).all() or (factors <= 0).any():
        raise PrecisionError(f"the factors of {name!r} are {values!r:.60}", hint="numbers above zero, one per channel")
    return name, factors


_ROUNDING = 1 / 255
"""How much of itself a scale may differ from that of its range: people write few digits."""
_FIELDS = ("scale", "zero_point", "dtype", "min", "max", "algorithm", "seen")


def _entry(name: str, entry: Any) -> TensorScale:
    """One tensor of the file, checked: people edit it."""
    if not isinstance(entry, dict):
        return scale_of(*_range(name, entry))
    if "scale" not in entry:
        return scale_of(*_range(name, entry))
    dtype, scale, zero = entry.get("dtype", "uint8"), entry["scale"], entry.get("zero_point", 0)
    if dtype not in ("uint8", "int16"):
        raise PrecisionError(f"{name!r} has dtype {dtype!r}", hint="uint8 or int16")
    limits = np.iinfo(dtype)
    if unknown := [key for key in entry if key not in _FIELDS]:
        raise PrecisionError(f"{name!r} has {unknown[0]!r}", hint=f"known: {', '.join(_FIELDS)}")
    if not isinstance(scale, int | float) or not 0 < scale < float(np.finfo(np.float32).max):
        raise PrecisionError(f"{name!r} has scale {scale!r}", hint="a number above zero")
    if not isinstance(zero, int) or not limits.min <= zero <= limits.max or (dtype == "int16" and zero != 0):
        raise PrecisionError(f"{name!r} has zero point {zero!r}", hint="0 to 255 for uint8, 0 for int16")
    low, high = (limits.min - zero) * scale, (limits.max - zero) * scale
    if "min" in entry and "max" in entry:
        low, high = _range(name, entry)
        _require_agreement(name, entry, scale_of(low, high, bits=limits.bits), scale_of(low, high, symmetric=True))
    seen = _range(name, entry["seen"]) if "seen" in entry else None
    return TensorScale(float(np.float32(scale)), zero, dtype, low, high, str(entry.get("algorithm", "edited")), seen)


def _require_agreement(name: str, entry: dict[str, Any], *ranges: TensorScale) -> None:
    """Raises PrecisionError where the scale is none that the range gives, asymmetric or symmetric."""
    scale, zero = entry["scale"], entry.get("zero_point", 0)
    if not any(abs(scale - r.scale) <= r.scale * _ROUNDING and abs(zero - r.zero) <= 1 for r in ranges):
        wanted = ranges[0]
        raise PrecisionError(
            f"{name!r} has scale {scale}, zero point {zero}, but its range [{wanted.low}, {wanted.high}] gives "
            f"{wanted.scale:.6g}, {wanted.zero}",
            hint="keep one and remove the other: either scale and zero_point, or min and max",
        )
