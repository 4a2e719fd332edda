"""Where the samples of a resized axis come from: indices and weights per output coordinate.

The formulas are written once over a small set of operations. With numpy they give the tables of fixed sizes while
lowering; in a kernel they give the tables of run-time sizes, operation by operation the same float32 numbers.
Source: ONNX operator Resize-19; float32 evaluation order as in onnxruntime, whose ties `nearest` has to meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from magicmind.codegen.builder import Index, Kernel, Size, Vec
from magicmind.codegen.target import Target
from magicmind.kernels.work import params_of

TAPS = {"nearest": 1, "linear": 2, "cubic": 4}


@dataclass(frozen=True)
class Sampling:
    """How one axis is resampled; `scale` None means output size / input size.

    The numbers are float32 values, so that constants of the formulas round once whoever evaluates them.
    """

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    scale: float | None = None
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def taps(self) -> int:
        return TAPS[self.mode]

    @property
    def crops(self) -> bool:
        """Whether outputs may lie outside of the input and take the extrapolation value."""
        return self.coordinates == "tf_crop_and_resize"


class Numbers(Protocol):
    """What the formulas need beyond + - * /; numbers are float32."""

    def floor(self, x: Any) -> Any: ...

    def ceil(self, x: Any) -> Any: ...

    def clamp(self, x: Any, low: Any, high: Any) -> Any: ...

    def choose(self, greater: Any, than: Any, a: Any, b: Any) -> Any:
        """a where greater > than, else b."""
        ...

    def widen(self, x: Any) -> Any:
        """As float64."""
        ...

    def narrow(self, x: Any) -> Any:
        """As float32."""
        ...


def source_coordinate(m: Numbers, s: Sampling, x: Any, size: Any, out: Any) -> Any:
    """The place in the input that output `x` samples; all are float32."""
    scale = out / size if s.scale is None else s.scale
    if s.coordinates == "asymmetric":
        return x * size / out if s.scale is None else x / scale
    if s.coordinates == "align_corners":
        return m.choose(out, 1.0, x * (size - 1.0) / m.clamp(out - 1.0, 1.0, out), x * 0.0)
    if s.coordinates == "tf_crop_and_resize":
        start, end = s.roi
        span = x * (end - start) * (size - 1.0) / m.clamp(out - 1.0, 1.0, out)
        return m.choose(out, 1.0, start * (size - 1.0) + span, 0.5 * (start + end) * (size - 1.0) + x * 0.0)
    half_pixel = (x + 0.5) / scale - 0.5
    if s.coordinates == "pytorch_half_pixel":
        return m.choose(out, 1.0, half_pixel, x * 0.0)
    if s.coordinates == "half_pixel_symmetric":
        # Keeps the centre in place when the size is not scale times the input, but rounded.
        # The formula's end is evaluated in float64: it decides ties.
        adjustment = out / (scale * size)
        offset = m.widen(size / 2.0 * (1.0 - adjustment))
        return m.narrow(offset + (m.widen(x) + 0.5) / m.widen(scale) - 0.5)
    return half_pixel


def rounded(m: Numbers, rounding: str, x: Any) -> Any:
    """The whole number that `nearest` takes."""
    if rounding == "floor":
        return m.floor(x)
    if rounding == "ceil":
        return m.ceil(x)
    return m.ceil(x - 0.5) if rounding == "round_prefer_floor" else m.floor(x + 0.5)


def table_entry(m: Numbers, s: Sampling, x: Any, size: Any, out: Any) -> tuple[list[Any], list[Any]]:
    """(indices, weights) of every tap of output `x`, as float32; index -1 marks a sample outside of a crop."""
    at = source_coordinate(m, s, x, size, out)
    last = size - 1.0
    if s.mode == "nearest":
        indices, weights = [m.clamp(rounded(m, s.rounding, at), 0.0, last)], [x * 0.0 + 1.0]
    elif s.mode == "linear":
        inside = m.clamp(at, 0.0, last)
        first = m.floor(inside)
        fraction = inside - first
        indices, weights = [first, m.clamp(first + 1.0, 0.0, last)], [1.0 - fraction, fraction]
    else:
        indices, weights = _cubic(m, s, at, last)
    if s.crops:
        indices = [m.choose(0.0, at, x * 0.0 - 1.0, m.choose(at, last, x * 0.0 - 1.0, i)) for i in indices]
    return indices, weights


def _cubic(m: Numbers, s: Sampling, at: Any, last: Any) -> tuple[list[Any], list[Any]]:
    a = s.cubic_a
    first = m.floor(at)
    t = at - first

    def near(d: Any) -> Any:
        return ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0

    def far(d: Any) -> Any:
        return ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a

    weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
    places = [first + float(i) for i in (-1, 0, 1, 2)]
    if s.exclude_outside:
        weights = [
            m.choose(0.0, p, w * 0.0, m.choose(p, last, w * 0.0, w)) for p, w in zip(places, weights, strict=True)
        ]
        total = weights[0] + weights[1] + weights[2] + weights[3]
        weights = [w / total for w in weights]
    return [m.clamp(p, 0.0, last) for p in places], weights


class _NumpyNumbers:
    def floor(self, x: Any) -> Any:
        return np.floor(x)

    def ceil(self, x: Any) -> Any:
        return np.ceil(x)

    def clamp(self, x: Any, low: Any, high: Any) -> Any:
        return np.minimum(np.maximum(x, low), high)

    def choose(self, greater: Any, than: Any, a: Any, b: Any) -> Any:
        return np.where(greater > than, a, b)

    def widen(self, x: Any) -> Any:
        return np.asarray(x, np.float64)

    def narrow(self, x: Any) -> Any:
        return np.asarray(x, np.float32)


Table = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


def fixed_table(s: Sampling, size: int, out: int) -> Table:
    """Indices int32 and weights float32, both [taps, out]."""
    x = np.arange(out, dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        indices, weights = table_entry(_NumpyNumbers(), s, x, np.float32(size), np.float32(out))
    shape = (s.taps, out)
    return (
        np.array([np.broadcast_to(i, out) for i in indices], np.float32).reshape(shape).astype(np.int32),
        np.array([np.broadcast_to(w, out) for w in weights], np.float32).reshape(shape),
    )


def antialias_table(s: Sampling, size: int, out: int) -> Table:
    """As `fixed_table` with the filter widened by the reduction, so that every input counts (linear and cubic)."""
    scale = out / size if s.scale is None else s.scale
    stretch = max(1.0 / scale, 1.0)
    support = stretch * (1.0 if s.mode == "linear" else 2.0)
    at = source_coordinate(_NumpyNumbers(), s, np.arange(out, dtype=np.float64), float(size), float(out))
    first, stop = np.floor(at - support + 1), np.floor(at + support + 1)
    taps = max(int((stop - first).max(initial=1)), 1)
    places = first + np.arange(taps)[:, None]
    counted = places < stop
    if s.exclude_outside:
        counted &= (places >= 0) & (places < size)
    weights = _filter(s, np.abs(places - at) / stretch) * counted
    weights = weights / weights.sum(axis=0)
    return np.clip(places, 0, size - 1).astype(np.int32), weights.astype(np.float32)


def _filter(s: Sampling, d: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The filter's value at distance `d`."""
    if s.mode == "linear":
        return np.maximum(1.0 - d, 0.0)
    a = s.cubic_a
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    result: npt.NDArray[np.float64] = np.where(d < 1, near, np.where(d < 2, far, 0.0))
    return result


class _KernelNumbers:
    def __init__(self, k: Kernel) -> None:
        self.k = k

    def floor(self, x: Vec) -> Vec:
        # By conversion: coordinates are small, and llvm.floor would need SSE4.1 or a library call.
        whole = self.k.convert(self.k.convert(x, "i32"), "f32")
        return self.k.select(whole.compare(">", x), whole - 1.0, whole)

    def ceil(self, x: Vec) -> Vec:
        return -self.floor(-x)

    def clamp(self, x: Vec, low: Any, high: Any) -> Vec:
        return self.k.min(self.k.max(x, low), high)

    def choose(self, greater: Any, than: Any, a: Any, b: Any) -> Vec:
        """One side of the comparison at least is a value of the kernel."""
        mask = greater.compare(">", than) if isinstance(greater, Vec) else than.compare("<", greater)
        chosen = a if isinstance(a, Vec) else self.k.like(a, b)
        return self.k.select(mask, chosen, b)

    def widen(self, x: Any) -> Any:
        return self.k.convert(x, "f64") if isinstance(x, Vec) else x

    def narrow(self, x: Vec) -> Vec:
        return self.k.convert(x, "f32")


@dataclass(frozen=True)
class MakeTable:
    """`fixed_table` for sizes known at run time. Args: indices i32 [taps, out], weights f32 [taps, out]."""

    sampling: Sampling
    size: Size
    out: Size

    @property
    def name(self) -> str:
        return f"resize_table_{self.sampling.mode}"

    def build(self, target: Target, symbol: str) -> Kernel:
        k = Kernel(symbol, target, ("i32", "f32"), params_of(self.size, self.out))
        size, out = k.size(self.size), k.size(self.out)
        with k.when(k.equal(k.tid, 0)), k.loop("x", 0, out) as x:
            position, *extents = (k.number(v, "f32") for v in (x, size, out))
            entry = table_entry(_KernelNumbers(k), self.sampling, position, *extents)
            self._store(k, entry, x, out)
        return k

    def _store(self, k: Kernel, entry: tuple[Sequence[Vec], Sequence[Vec]], x: Index, out: Index) -> None:
        for tap, (index, weight) in enumerate(zip(*entry, strict=True)):
            k.pointers[0].store(k.convert(index, "i32"), at=out * tap + x)
            k.pointers[1].store(weight, at=out * tap + x)
