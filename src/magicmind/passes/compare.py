"""Whether two versions of a graph compute the same numbers: both run by the reference on the same random inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir

from magicmind.errors import CompileError
from magicmind.ir import dims
from magicmind.ir.types import ranges_of, type_of
from magicmind.ops.reference import run_graph

__all__ = ["compare_outputs", "random_feeds"]

Array = npt.NDArray[Any]

# Relative to the largest output. Folding rounds weights again, so float networks differ in the last bits per layer.
TOLERANCE = {"f": 1e-4, "V": 3e-2, "c": 1e-4}
HALF_TOLERANCE = 1e-2


def compare_outputs(before: onnx_ir.Model, after: onnx_ir.Model) -> None:
    """Raises CompileError naming the outputs that differ."""
    feeds = random_feeds(before)
    expected, got = run_graph(before, feeds), run_graph(after, feeds)
    problems = [f"output {name!r}: {text}" for name in expected if (text := difference(expected[name], got[name]))]
    if problems:
        raise CompileError("the pass changed the numbers: " + "; ".join(problems))


def random_feeds(model: onnx_ir.Model, seed: int = 0) -> dict[str, Array]:
    """Inputs of the right types; a symbol takes the smallest size in its range, or 2 where that is smaller."""
    rng = np.random.default_rng(seed)
    sizes = {name: max(low, min(2, high or 2)) for name, (low, high) in ranges_of(model).items()}
    feeds: dict[str, Array] = {}
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        type_ = type_of(value)
        assert type_ is not None and value.name is not None
        for dim in type_.dims:
            sizes |= {name: sizes.get(name, 2) for name in dims.symbols_of(dim)}
        shape = [dims.evaluate(dim, sizes) for dim in type_.dims]
        feeds[value.name] = _random(rng, shape, type_.dtype)
    return feeds


def _random(rng: np.random.Generator, shape: list[int], dtype: onnx_ir.DataType) -> Array:
    if dtype.is_floating_point():
        return rng.standard_normal(shape).astype(dtype.numpy())
    return rng.integers(0, 2 if dtype == onnx_ir.DataType.BOOL else 8, shape).astype(dtype.numpy())


def difference(expected: Array, got: Array) -> str:
    """What differs, or an empty text."""
    if expected.dtype != got.dtype or expected.shape != got.shape:
        return f"{expected.dtype}{list(expected.shape)} became {got.dtype}{list(got.shape)}"
    if expected.dtype.kind not in TOLERANCE:
        wrong = int((expected != got).sum())
        return f"{wrong} of {expected.size} elements differ" if wrong else ""
    a, b = expected.astype(np.complex128), got.astype(np.complex128)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return "other elements are infinite or NaN"
    finite = np.isfinite(a)
    scale = float(np.abs(a[finite]).max(initial=0.0)) or 1.0
    error = float(np.abs(a - b)[finite].max(initial=0.0)) / scale
    allowed = HALF_TOLERANCE if expected.dtype == np.float16 else TOLERANCE[expected.dtype.kind]
    return f"differs by {error:.1e} of the largest element" if error > allowed else ""
