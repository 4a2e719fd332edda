"""Where two symbolic dims have to be equal: which symbol takes the place of the other, and what to say when none can.

A model says with its operators that sizes agree: the operands of an Add, the inner sizes of a product. Where the rules
find two different symbols there, one replaces the other in the graph's inputs; what was asked of sizes that depend on
the data is written into the model, for the run time to check.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np
import onnx_ir

from magicmind.errors import Error, ShapeError, UnsupportedOperatorError
from magicmind.ir.dims import DATA_PREFIX, Dim, Expr, exact_div, narrow, parse, substitute, symbol, symbols_of
from magicmind.ir.shape_spec import Range
from magicmind.ir.types import (
    Shape,
    TensorType,
    ranges_of,
    set_ranges,
    set_type,
    shape_of,
    to_ir_shape,
    value_type_of,
)
from magicmind.ops.registry import DATA_KEY, set_data
from magicmind.ops.shapes import MustEqual

__all__ = ["LIMITED_KEY", "SAME_KEY", "rename", "rename_in", "same_of", "solve_data", "unequal", "unify", "unify_types"]

SAME_KEY = "magicmind.same"
"""Where a model's metadata keeps what data-dependent symbols were found to equal."""


LIMITED_KEY = "magicmind.limited"
"""Likewise, the symbols whose upper bounds the network itself gave."""


def unify(model: onnx_ir.Model, a: Dim, b: Dim, order: list[str]) -> bool:
    """Makes `a` and `b` equal by replacing one symbol; False when no such replacement exists.

    `order`: the data-dependent symbols, first ones first.
    """
    ranges = ranges_of(model)
    a, b = _without_common_factors(a, b)
    found = solve_data(a, b, order) or _solve(a, b, _axes_of_symbols(map(shape_of, model.graph.inputs)))
    if found is None:
        derived = set(json.loads(model.metadata_props.get(LIMITED_KEY, "[]")))
        if not _limited(ranges, a, b, derived):
            return False
        set_ranges(model, ranges)
        model.metadata_props[LIMITED_KEY] = json.dumps(sorted(derived))
        return True
    name, replacement = found
    if name.startswith(DATA_PREFIX):
        same = {n: substitute(d, {name: replacement}) for n, d in same_of(model).items()}
        texts = {n: str(d) for n, d in {**same, name: replacement}.items()}
        model.metadata_props[SAME_KEY] = json.dumps(texts, sort_keys=True)
        return True
    if not _narrowed(ranges, name, replacement):
        return False
    for value in model.graph.inputs:
        shape = shape_of(value)
        if shape is not None:
            value.shape = to_ir_shape(tuple(substitute(d, {name: replacement}) for d in shape))
    set_ranges(model, ranges)
    return True


def rename(model: onnx_ir.Model, swap: Mapping[str, Dim]) -> None:
    """Puts other dims in the place of data-dependent symbols that no node makes any more."""
    same = {n: str(substitute(d, swap)) for n, d in same_of(model).items()}
    if same:
        model.metadata_props[SAME_KEY] = json.dumps(same, sort_keys=True)
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
            rename_in(value, swap)


def rename_in(value: onnx_ir.Value, swap: Mapping[str, Dim]) -> None:
    """Puts other dims in the place of symbols, in a value's type and in what is known of its contents."""
    t, data = value_type_of(value), value.meta.get(DATA_KEY)
    if isinstance(t, TensorType) and t.shape is not None and not t.is_static:
        set_type(value, TensorType(t.dtype, _swapped(t.shape, swap)))
    if data is not None and data.dtype == object:
        found = np.empty(data.size, object)
        found[:] = [substitute(d, swap) for d in data.flat]
        set_data(value, found.reshape(data.shape))


def unify_types(
    types: dict[str, TensorType], ranges: dict[str, Range], a: Dim, b: Dim
) -> tuple[dict[str, TensorType], dict[str, Range]] | None:
    """As `unify`, for inputs whose graph is still to be made; None when no replacement exists."""
    found, ranges = _solve(a, b, _axes_of_symbols(t.shape for t in types.values())), dict(ranges)
    if found is None:
        return (dict(types), ranges) if _limited(ranges, a, b, set()) else None
    if not _narrowed(ranges, *found):
        return None
    swap = dict([found])
    return {name: TensorType(t.dtype, _swapped(t.shape, swap)) for name, t in types.items()}, ranges


def _swapped(shape: Shape | None, swap: Mapping[str, Dim]) -> Shape | None:
    return None if shape is None else tuple(substitute(d, swap) for d in shape)


def _narrowed(ranges: dict[str, Range], name: str, replacement: Dim) -> bool:
    """Takes a symbol out of `ranges`, leaving what both allow; whether there is such."""
    low, high = ranges.pop(name, (1, None))
    if isinstance(replacement, int):
        return replacement >= low and high is None  # a range the user gave is never narrowed silently
    low2, high2 = ranges.get(str(replacement), (1, None))
    merged = max(low, low2), min((h for h in (high, high2) if h is not None), default=None)
    if merged[1] is not None and merged[0] > merged[1]:
        return False
    ranges[str(replacement)] = merged
    return True


def _limited(ranges: dict[str, Range], a: Dim, b: Dim, derived: set[str]) -> bool:
    """Gives a symbol without an upper bound the range in which `a` equals `b`; whether there is such.

    `derived` are the symbols whose bounds were found like this before: they may narrow further, and are added to.
    A network slices its table of 512 positions to the length S of a text, which is `min(512, S)`, and adds both:
    S is 512 at most. One that drops the last window of a sound of S samples needs as many samples as a window has.
    """
    names = symbols_of(a) | symbols_of(b)
    if len(names) != 1 or any(name.startswith(DATA_PREFIX) for name in names):
        return False
    (name,) = names
    low, high = ranges.get(name, (1, None))
    if high is not None and name not in derived:
        return False
    same = (n for n in range(low, low + _TRIED) if substitute(a, {name: n}) == substitute(b, {name: n}))
    low = next(same, low)
    limits = sorted(_limits(a) | _limits(b), key=str)
    tops = [solved[1] for limit, size in limits if (solved := _solve(limit, size, {name: 0}))]
    last = next((n - 1 for n in range(low, low + _TRIED) if substitute(a, {name: n}) != substitute(b, {name: n})), 0)
    named = _NUMBER.findall(f"{a} {b}")  # a size that only happens to do is no limit
    if low < last and str(last) in named:
        tops.append(last)
    for top in (high, *(t for t in tops if isinstance(t, int) and low <= t and (high is None or t < high))):
        within = {**ranges, name: (low, top)}
        if narrow(a, within) == narrow(b, within):
            ranges[name] = (low, top)
            derived.add(name)
            return True
    return False


def _limits(dim: Dim) -> set[tuple[int, Dim]]:
    """The numbers in a dim's minima and maxima, each beside what it limits."""
    atoms = [] if isinstance(dim, int) else [atom for factors, _ in dim.terms for atom in factors]
    found = {pair for atom in atoms for arg in atom.args for pair in _limits(arg)}
    for atom in atoms:
        if atom.kind in ("min", "max"):
            numbers = [arg for arg in atom.args if isinstance(arg, int)]
            found |= {(n, arg) for n in numbers for arg in atom.args if not isinstance(arg, int)}
    return found


def solve_data(a: Dim, b: Dim, order: list[str]) -> tuple[str, Dim] | None:
    """A data-dependent symbol that stands alone on one side, and the other side, when that is known before it.

    The run time checks such a size once it knows it, so anything may be asked of it here.
    """
    place = {name: i for i, name in enumerate(order)}
    for dim, other in ((a, b), (b, a)):
        name = str(dim)
        earlier = all(place.get(s, -1) < place.get(name, -1) for s in symbols_of(other))
        if name in place and symbols_of(dim) == {name} and earlier and (not isinstance(other, int) or other >= 0):
            return name, other
    return None


def same_of(model: onnx_ir.Model) -> dict[str, Dim]:
    """What data-dependent symbols were found to equal."""
    found: dict[str, str] = json.loads(model.metadata_props.get(SAME_KEY, "{}"))
    return {name: parse(text) for name, text in found.items()}


def unequal(model: onnx_ir.Model, error: MustEqual) -> Error:
    """What to tell the user when no replacement makes two dims equal."""
    if any(name.startswith(DATA_PREFIX) for name in symbols_of(error.a) | symbols_of(error.b)):
        return UnsupportedOperatorError(
            f"{error.what}: whether {error.a} and {error.b} are equal is only known at run time",
            hint="export the model with fixed sizes there",
        )
    found = _solve(error.a, error.b, _axes_of_symbols(map(shape_of, model.graph.inputs)))
    if found is None or not isinstance(found[1], int):
        text = f"{error.what}: dimensions {error.a} and {error.b} have to be equal"
        examples = _examples(*_without_common_factors(error.a, error.b))
        if not examples:
            return ShapeError(text, hint=error.advice)
        hint = "give a range inside of that, or one of these numbers" if "=" in examples else "give other shapes"
        return ShapeError(f"{text}; they are for {examples}", hint=hint)
    name, number = found
    return ShapeError(
        f"{error.what}: this holds for {name}={number} only",
        hint=f"the model has {name}={number} written into it: build it with that, or export it with a dynamic size",
    )


_NUMBER = re.compile(r"\b\d+\b")
_TRIED = 4096
"""Sizes tried for the examples in an error."""


def _examples(a: Dim, b: Dim) -> str:
    """The sizes for which two dims of one symbol are equal: `H = 2, 4, 6, ..., not for 1, 3, 5`, `L = 192..703`."""
    names = symbols_of(a) | symbols_of(b)
    if len(names) != 1:
        return ""
    (name,) = names
    same = [n for n in range(1, _TRIED + 1) if substitute(a, {name: n}) == substitute(b, {name: n})]
    if not same:
        return f"no {name} up to {_TRIED}"
    if same[-1] - same[0] == len(same) - 1:
        last = "" if same[-1] == _TRIED else same[-1]
        return f"{name} = {same[0]}" if len(same) == 1 else f"{name} = {same[0]}..{last}"
    listed = set(same)
    different = [str(n) for n in range(1, same[-1]) if n not in listed]
    more = ", ..." if len(same) > 3 else ""
    return f"{name} = {', '.join(map(str, same[:3]))}{more}, not for {', '.join(different[:3])}"


def _axes_of_symbols(shapes: Iterable[Shape | None]) -> dict[str, int]:
    """The symbols of the inputs' shapes in order of appearance, with the axis where each appears first."""
    found: dict[str, int] = {}
    for shape in shapes:
        for axis, dim in enumerate(shape or ()):
            for name in sorted(symbols_of(dim)):
                found.setdefault(name, axis)
    return found


def _solve(a: Dim, b: Dim, axes: Mapping[str, int]) -> tuple[str, Dim] | None:
    """A symbol and what to put in its place so that `a` equals `b`: an earlier symbol, or a number.

    A number only where it is the one solution, which a linear equation has: `2*((H + 1)//2) == H` holds for every even
    H, and to take one of them would refuse the others. Where two symbols have to be replaced at once (`B*S == N*L`,
    inputs of sizes [B, S] and [N, L]), they give way to symbols of the same axis, and this is the first of them.
    """
    names = [n for n in axes if n in symbols_of(a) | symbols_of(b)]
    pairs = [(drop, keep) for i, keep in enumerate(names) for drop in names[i + 1 :]]
    for drop, keep in pairs:
        if substitute(a, {drop: symbol(keep)}) == substitute(b, {drop: symbol(keep)}):
            return drop, symbol(keep)
    aligned = [(drop, keep) for drop, keep in pairs if axes[drop] == axes[keep]]
    for first, second in combinations(aligned, 2):
        swap = {drop: symbol(keep) for drop, keep in (first, second)}
        if len({*first, *second}) == 4 and substitute(a, swap) == substitute(b, swap):
            return first[0], symbol(first[1])
    a, b = _without_common_factors(a, b)
    difference = a - b
    names = [n for n in names if n in symbols_of(difference)]
    if len(names) == 1 and isinstance(difference, Expr) and _is_linear(difference):
        name = names[0]
        slope = substitute(difference, {name: 2}) - substitute(difference, {name: 1})
        if isinstance(slope, int) and slope:
            value = 1 - substitute(difference, {name: 1}) // slope
            if isinstance(value, int) and value >= 1 and substitute(difference, {name: value}) == 0:
                return name, value
    return None


def _without_common_factors(a: Dim, b: Dim) -> tuple[Dim, Dim]:
    """Both dims divided by the input symbols and the numbers that are in both: sizes of inputs are never 0."""
    names = sorted(n for n in symbols_of(a) & symbols_of(b) if not n.startswith(DATA_PREFIX))
    factors: list[Dim] = [*map(symbol, names), math.gcd(*_coefficients(a), *_coefficients(b))]
    for factor in factors:
        while factor not in (0, 1) and (first := exact_div(a, factor)) is not None:
            second = exact_div(b, factor)
            if second is None:
                break
            a, b = first, second
    return a, b


def _coefficients(dim: Dim) -> list[int]:
    return [dim] if isinstance(dim, int) else [coefficient for _, coefficient in dim.terms]


def _is_linear(dim: Expr) -> bool:
    """Whether `dim` is a sum of multiples of plain symbols and a number."""
    return all(len(factors) <= 1 and all(f.kind == "symbol" for f in factors) for factors, _ in dim.terms)
