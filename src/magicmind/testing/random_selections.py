"""Random graphs, continued: indexing, sorting, integers and bools, and shapes that follow from contents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from magicmind.testing.random_graphs import BOOL, FLOAT, INT, NUMBERS, Dim, RandomGraph, Value

Array = np.ndarray[Any, Any]


def _indices(g: RandomGraph, limit: int, *shape: int) -> Array:
    """Positions in -limit..limit."""
    return np.random.default_rng(g.count).integers(-limit, limit, shape)


def _fixed(x: Value) -> tuple[int, ...] | None:
    """The shape, where all dims are numbers and none is 0."""
    shape = tuple(d for d in x.dims if isinstance(d, int) and d)
    return shape if len(shape) == len(x.dims) else None


def gather_elements(g: RandomGraph) -> None:
    x = g.some(*NUMBERS, ranks=range(1, 5))
    shape = x and _fixed(x)
    if x is None or not shape:
        return
    axis = g.choices.pick(range(len(shape)))
    taken = (*shape[:axis], g.choices.pick((1, 3)), *shape[axis + 1 :])
    indices = g.constant(_indices(g, shape[axis], *taken))
    g.add("GatherElements", [x.name, indices], taken, x.dtype, x.exact, axis=axis)


def gather_nd(g: RandomGraph) -> None:
    x = g.some(*NUMBERS, ranks=range(2, 5))
    shape = x and _fixed(x)
    if x is not None and shape:
        count, depth = g.choices.pick((1, 5)), g.choices.pick((1, 2))
        places = np.stack([_indices(g, shape[i], count) for i in range(depth)], -1)
        g.add("GatherND", [x.name, g.constant(places)], (count, *shape[depth:]), x.dtype, x.exact)


def scatter(g: RandomGraph) -> None:
    x = g.some(ranks=range(1, 5))
    shape = x and _fixed(x)
    if x is None or not shape:
        return
    reduction = g.choices.pick(("none", "add", "max", "mul"))
    if g.choices.pick((True, False)):
        axis = g.choices.pick(range(len(shape)))
        # Without a reduction every place once: the order of writes is not defined.
        along = np.random.default_rng(g.count).permutation(shape[axis])[: (shape[axis] + 1) // 2]
        view = along.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        places = np.broadcast_to(view, [len(along) if i == axis else s for i, s in enumerate(shape)])
        updates = g.weights(*places.shape)
        inputs = [x.name, g.constant(np.ascontiguousarray(places)), updates]
        g.add("ScatterElements", inputs, shape, axis=axis, reduction=reduction)
    else:
        rows = np.random.default_rng(g.count).permutation(shape[0])[: (shape[0] + 1) // 2]
        inputs = [x.name, g.constant(rows[:, None]), g.weights(len(rows), *shape[1:])]
        g.add("ScatterND", inputs, shape, reduction=reduction)


def cumulative(g: RandomGraph) -> None:
    x = g.some(FLOAT, INT, ranks=range(1, 5))
    if x is not None and 0 not in x.dims:
        axis = g.constant(np.array(g.choices.pick(range(-len(x.dims), len(x.dims))), np.int64))
        exclusive, reverse = g.choices.pick((0, 1)), g.choices.pick((0, 1))
        g.add("CumSum", [x.name, axis], x.dims, x.dtype, exclusive=exclusive, reverse=reverse)


def top_k(g: RandomGraph) -> None:
    x = g.some(ranks=range(1, 5), exact=True)
    if x is None:
        return
    axis = g.choices.pick(range(len(x.dims)))
    size = x.dims[axis]
    if isinstance(size, int) and size:
        k, largest = g.choices.pick(range(1, size + 1)), g.choices.pick((0, 1))
        dims = (*x.dims[:axis], k, *x.dims[axis + 1 :])
        g.add_many("TopK", [x.name, g.ints(k)], [dims, dims], (FLOAT, INT), exact=True, axis=axis, largest=largest)


def one_hot(g: RandomGraph) -> None:
    x = g.some(INT, ranks=range(0, 4), exact=True)
    if x is not None:
        depth = g.choices.pick((1, 4, 7))
        values = g.constant(np.array([-0.5, 1.5], np.float32))
        count = g.constant(np.array(depth, np.int64))
        g.add("OneHot", [x.name, count, values], (*x.dims, depth), exact=True)


def triangle(g: RandomGraph) -> None:
    x = g.some(FLOAT, INT, ranks=range(2, 5))
    if x is not None:
        offset = g.constant(np.array(g.choices.pick((-2, -1, 0, 1, 3)), np.int64))
        g.add("Trilu", [x.name, offset], x.dims, x.dtype, x.exact, upper=g.choices.pick((0, 1)))


def logic(g: RandomGraph) -> None:
    x = g.some(exact=True)
    if x is None:
        return
    a = g.add("Greater", [x.name, g.scalar(-0.5)], x.dims, BOOL, exact=True)
    b = g.add("LessOrEqual", [x.name, g.scalar(0.75)], x.dims, BOOL, exact=True)
    g.add(g.choices.pick(("And", "Or", "Xor")), [a.name, b.name], x.dims, BOOL, exact=True)


def quotient(g: RandomGraph) -> None:
    """Division, remainder and powers where they are well defined."""
    x = g.some(FLOAT, INT, exact=True)
    if x is None:
        return
    op = g.choices.pick(("Div", "Mod", "Pow"))
    if x.dtype == INT:
        number = g.constant(np.array(g.choices.pick((1, 2, 3, 7)), np.int64))
        g.add(op if op != "Pow" else "Mod", [x.name, number], x.dims, INT, x.exact)
    elif op == "Pow":
        g.add(op, [x.name, g.scalar(g.choices.pick((2, 3)))], x.dims)
    else:
        number = g.scalar(g.choices.pick((0.5, 2, -4)))
        more = {"fmod": 1} if op == "Mod" else {}
        g.add(op, [x.name, number], x.dims, FLOAT, x.exact, **more)


def variadic(g: RandomGraph) -> None:
    x = g.some()
    if x is not None:
        fit = [v for v in g.values if v.dtype == FLOAT and v.dims == x.dims]
        parts = [x.name, *(g.choices.pick(fit).name for _ in range(g.choices.pick((1, 2, 3))))]
        g.add(g.choices.pick(("Sum", "Mean", "Max", "Min")), parts, x.dims)


def non_zero(g: RandomGraph) -> None:
    """Positions of the elements that are not 0: how many is known at run time only."""
    x = g.some(ranks=range(1, 4), exact=True)
    if x is not None and 0 not in x.dims:
        g.add("NonZero", [x.name], (len(x.dims), g.fresh("nonzero")), INT, exact=True)


def compress(g: RandomGraph) -> None:
    """The elements a mask picks."""
    x = g.some(ranks=(1,), exact=True)
    if x is not None and 0 not in x.dims:
        mask = g.add("Greater", [x.name, g.scalar(0.25)], x.dims, BOOL, exact=True)
        g.add("Compress", [x.name, mask.name], (g.fresh("picked"),), exact=True, axis=0)


def shape_arithmetic(g: RandomGraph) -> None:
    """Expand to a shape that is put together from another's parts."""
    x = g.some(FLOAT, INT, ranks=range(1, 4))
    if x is None or 0 in x.dims:
        return
    size = g.add("Shape", [x.name], (len(x.dims),), INT, exact=True)
    times: Dim = g.choices.pick((1, 2))
    target = g.add("Concat", [g.ints(int(times)), size.name], (len(x.dims) + 1,), INT, exact=True, axis=0)
    g.add("Expand", [x.name, target.name], (times, *x.dims), x.dtype, x.exact)


SELECTIONS: tuple[Callable[[RandomGraph], None], ...] = (
    gather_elements, gather_nd, scatter, cumulative, top_k, one_hot, triangle, logic, quotient, variadic, non_zero,
    compress, shape_arithmetic,
)  # fmt: skip
