"""What random graphs are made of: each function adds one operator that fits, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from magicmind.testing.random_graphs import BOOL, DOUBLE, FLOAT, INT, INT32, NUMBERS, Dim, RandomGraph, Value
from magicmind.testing.random_layers import LAYERS
from magicmind.testing.random_selections import SELECTIONS

UNARY = (
    "Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Erf", "Elu", "LeakyRelu", "HardSwish", "HardSigmoid", "Softplus",
    "Softsign", "Sin", "Cos", "Atan", "Identity", "Celu", "Selu", "Mish", "Gelu", "ThresholdedRelu", "Reciprocal",
)  # fmt: skip
STEPS = ("Floor", "Ceil", "Round", "Sign")
REDUCE = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceSumSquare", "ReduceProd")


def unary(g: RandomGraph) -> None:
    x = g.some()
    if x is not None:
        op = g.choices.pick(UNARY)
        if op == "Reciprocal":  # of something well away from 0
            x = g.add("Add", [g.add("Abs", [x.name], x.dims).name, g.scalar(0.5)], x.dims)
        g.add(op, [x.name], x.dims)


def guarded(g: RandomGraph) -> None:
    """Exp, Log and Sqrt inside their domain."""
    x = g.some()
    if x is not None:
        op = g.choices.pick(("Exp", "Log", "Sqrt"))
        low = -3.0 if op == "Exp" else 0.125
        limits = [g.scalar(low), g.scalar(4)]
        g.add(op, [g.add("Clip", [x.name, *limits], x.dims).name], x.dims)


def step(g: RandomGraph) -> None:
    x = g.some(exact=True)
    if x is not None:
        g.add(g.choices.pick(STEPS), [x.name], x.dims, exact=True)


def binary(g: RandomGraph) -> None:
    x = g.some(*NUMBERS)
    if x is None:
        return
    other, dims = _partner(g, x)
    op = g.choices.pick(("Add", "Sub", "Mul", "Max", "Min"))
    names = [x.name, other] if g.choices.pick((True, False)) or op == "Sub" else [other, x.name]
    g.add(op, names, dims, x.dtype)


def _partner(g: RandomGraph, x: Value) -> tuple[str, tuple[Dim, ...]]:
    """An operand that broadcasts with `x` (another value, or a constant), and the dims of the result."""
    fit = [v for v in g.values if v.dtype == x.dtype and _broadcast(v.dims, x.dims) is not None]
    if g.choices.pick((True, False)):
        other = g.choices.pick(fit)
        found = _broadcast(other.dims, x.dims)
        assert found is not None
        return other.name, found
    dims: list[Dim] = [1 if isinstance(d, str) or g.choices.pick((True, False, False)) else d for d in x.dims]
    shape = [int(d) for d in dims[g.choices.pick(range(len(dims) + 1)) :]]
    rng = np.random.default_rng(g.count)
    array = rng.integers(-2, 3, shape) if x.dtype in (INT, INT32) else rng.uniform(-1, 1, shape)
    return g.constant(np.asarray(array, tensor_dtype_to_np_dtype(x.dtype))), x.dims


def _broadcast(a: Sequence[Dim], b: Sequence[Dim]) -> tuple[Dim, ...] | None:
    rank = max(len(a), len(b))
    pairs = zip((1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b), strict=True)
    result: list[Dim] = []
    for p, q in pairs:
        if p != q and p != 1 and q != 1:
            return None
        result.append(q if p == 1 else p)
    return tuple(result)


def select(g: RandomGraph) -> None:
    x = g.some(exact=True)
    if x is None:
        return
    op = g.choices.pick(("Greater", "Less", "GreaterOrEqual", "Equal"))
    mask = g.add(op, [x.name, g.scalar(0.25)], x.dims, BOOL, exact=True)
    if g.choices.pick((True, False)):
        mask = g.add("Not", [mask.name], x.dims, BOOL, exact=True)
    g.add("Where", [mask.name, x.name, g.scalar(-1)], x.dims, exact=True)


def cast(g: RandomGraph) -> None:
    x = g.some(INT, INT32, BOOL) if g.choices.pick((True, False)) else g.some(FLOAT, DOUBLE, exact=True)
    if x is not None:
        to = g.choices.pick([t for t in (FLOAT, FLOAT, INT, INT32, DOUBLE) if t != x.dtype])
        g.add("Cast", [x.name], x.dims, to, x.exact, to=to)


def reduce(g: RandomGraph) -> None:
    x = g.some(ranks=range(1, 6))
    if x is None:
        return
    axes = sorted({g.choices.pick(range(len(x.dims))) for _ in range(2)})
    if any(x.dims[a] == 0 for a in axes):
        return
    keep = g.choices.pick((0, 1))
    dims = [1 if i in axes else d for i, d in enumerate(x.dims) if keep or i not in axes]
    op = g.choices.pick(REDUCE)
    source = g.add("Tanh", [x.name], x.dims) if op == "ReduceProd" else x
    given = [a - len(x.dims) if g.choices.pick((True, False)) else a for a in axes]
    g.add(op, [source.name, g.ints(*given)], dims, keepdims=keep)


def arg_reduce(g: RandomGraph) -> None:
    x = g.some(ranks=range(1, 6), exact=True)
    if x is None or 0 in x.dims:
        return
    axis, keep = g.choices.pick(range(len(x.dims))), g.choices.pick((0, 1))
    dims = [1 if i == axis else d for i, d in enumerate(x.dims) if keep or i != axis]
    last = g.choices.pick((0, 1))
    g.add(
        g.choices.pick(("ArgMax", "ArgMin")),
        [x.name],
        dims,
        INT,
        True,
        axis=axis,
        keepdims=keep,
        select_last_index=last,
    )


def softmax(g: RandomGraph) -> None:
    x = g.some(ranks=range(1, 6))
    if x is not None and 0 not in x.dims:
        axis = g.choices.pick(range(-len(x.dims), len(x.dims)))
        g.add(g.choices.pick(("Softmax", "LogSoftmax")), [x.name], x.dims, axis=axis)


def transpose(g: RandomGraph) -> None:
    x = g.some(*NUMBERS, ranks=range(2, 6))
    if x is not None:
        left, perm = list(range(len(x.dims))), []
        while left:
            perm.append(g.choices.pick(left))
            left.remove(perm[-1])
        g.add("Transpose", [x.name], [x.dims[p] for p in perm], x.dtype, x.exact, perm=perm)


def reshape(g: RandomGraph) -> None:
    """Merges two neighbours, splits a size, or flattens."""
    x = g.some(*NUMBERS, ranks=range(1, 6))
    if x is None:
        return
    i = g.choices.pick(range(len(x.dims)))
    dims, target = list(x.dims), [0 if isinstance(d, str) else d for d in x.dims]
    if 0 in x.dims:
        return
    here, after = dims[i], dims[i + 1] if i + 1 < len(dims) else None
    if isinstance(here, int) and isinstance(after, int):
        dims[i : i + 2] = [here * after]
        target[i : i + 2] = [-1 if not any(isinstance(d, str) for d in dims) else here * after]
        if any(isinstance(d, str) for d in dims[i + 1 :]):  # a 0 copies the dim of the same place
            return
    elif isinstance(here, int) and here % 2 == 0 and not any(isinstance(d, str) for d in dims[i:]):
        dims[i : i + 1] = [2, here // 2]
        target[i : i + 1] = [2, here // 2]
    else:
        dims, target = [*dims, 1], [*target, 1]
    g.add("Reshape", [x.name, g.ints(*target)], dims, x.dtype, x.exact)


def squeeze(g: RandomGraph) -> None:
    x = g.some(*NUMBERS)
    if x is None:
        return
    ones = [i for i, d in enumerate(x.dims) if d == 1]
    shorter = g.choices.pick((True, False))
    if shorter and ones:
        i = g.choices.pick(ones)
        g.add("Squeeze", [x.name, g.ints(i)], x.dims[:i] + x.dims[i + 1 :], x.dtype, x.exact)
    elif len(x.dims) < 5:
        i = g.choices.pick(range(len(x.dims) + 1))
        g.add("Unsqueeze", [x.name, g.ints(i)], (*x.dims[:i], 1, *x.dims[i:]), x.dtype, x.exact)


def concat(g: RandomGraph) -> None:
    x = g.some(*NUMBERS, ranks=range(1, 6))
    if x is None:
        return
    axis = g.choices.pick(range(len(x.dims)))
    fit = [v for v in g.values if v.dtype == x.dtype and len(v.dims) == len(x.dims)]
    fit = [v for v in fit if all(p == q for i, (p, q) in enumerate(zip(v.dims, x.dims, strict=True)) if i != axis)]
    parts = [x, *(g.choices.pick(fit) for _ in range(g.choices.pick((1, 1, 2))))]
    dims = list(x.dims)
    sizes = [p.dims[axis] for p in parts]
    dims[axis] = (
        sum(s for s in sizes if isinstance(s, int))
        if all(isinstance(s, int) for s in sizes)
        else "+".join(map(str, sizes))
    )
    g.add("Concat", [p.name for p in parts], dims, x.dtype, all(p.exact for p in parts), axis=axis)


def split(g: RandomGraph) -> None:
    x = g.some(*NUMBERS, ranks=range(1, 6))
    if x is None:
        return
    axis = g.choices.pick(range(len(x.dims)))
    size = x.dims[axis]
    if isinstance(size, int) and size >= 2:
        cut = g.choices.pick(range(1, size))
        outputs = [(*x.dims[:axis], part, *x.dims[axis + 1 :]) for part in (cut, size - cut)]
        g.add_many("Split", [x.name, g.ints(cut, size - cut)], outputs, x.dtype, x.exact, axis=axis)


def slice_(g: RandomGraph) -> None:
    x = g.some(*NUMBERS, ranks=range(1, 6))
    if x is None:
        return
    axis = g.choices.pick(range(len(x.dims)))
    size = x.dims[axis]
    if isinstance(size, str):
        return
    pace = g.choices.pick((1, 1, 2, -1, -2))
    a, b = g.choices.pick(range(size + 1)), g.choices.pick(range(size + 1))
    first, last = (min(a, b), max(a, b)) if pace > 0 else (max(a, b), min(a, b))
    count = len(range(size)[first:last:pace])
    dims = (*x.dims[:axis], count, *x.dims[axis + 1 :])
    if count or g.choices.pick((True, False, False, False)):
        g.add("Slice", [x.name, g.ints(first), g.ints(last), g.ints(axis), g.ints(pace)], dims, x.dtype, x.exact)


def pad(g: RandomGraph) -> None:
    x = g.some(ranks=range(1, 6))
    if x is None:
        return
    axis = g.choices.pick(range(len(x.dims)))
    size = x.dims[axis]
    mode = g.choices.pick(("constant", "edge", "reflect"))
    if isinstance(size, str) or (mode != "constant" and size < 3):
        return
    before, after = g.choices.pick((0, 1, 2)), g.choices.pick((0, 1, 2))
    pads = [0] * (2 * len(x.dims))
    pads[axis], pads[axis + len(x.dims)] = before, after
    dims = (*x.dims[:axis], size + before + after, *x.dims[axis + 1 :])
    g.add("Pad", [x.name, g.ints(*pads)], dims, FLOAT, x.exact, mode=mode)


def gather(g: RandomGraph) -> None:
    x = g.some(*NUMBERS, ranks=range(1, 6))
    if x is None:
        return
    axis = g.choices.pick(range(len(x.dims)))
    size = x.dims[axis]
    if isinstance(size, int) and size > 0:
        indices = [g.choices.pick(range(-size, size)) for _ in range(g.choices.pick((1, 3)))]
        dims = (*x.dims[:axis], len(indices), *x.dims[axis + 1 :])
        g.add("Gather", [x.name, g.ints(*indices)], dims, x.dtype, x.exact, axis=axis)


def matmul(g: RandomGraph) -> None:
    x = g.some(ranks=range(2, 5))
    if x is None or not isinstance(x.dims[-1], int) or x.dims[-1] == 0:
        return
    columns = g.choices.pick((1, 3, 16, 17, 33))
    y = g.add("MatMul", [x.name, g.weights(x.dims[-1], columns)], (*x.dims[:-1], columns))
    if g.choices.pick((True, False)):
        g.add("Add", [y.name, g.weights(columns)], y.dims)


def products(g: RandomGraph) -> None:
    """Of two values that are computed."""
    x = g.some(ranks=range(2, 5))
    if x is None or 0 in x.dims:
        return
    perm = [*range(len(x.dims) - 2), len(x.dims) - 1, len(x.dims) - 2]
    turned = g.add("Transpose", [x.name], [x.dims[p] for p in perm], perm=perm)
    g.add("MatMul", [x.name, turned.name], (*x.dims[:-1], x.dims[-2]))


def gemm(g: RandomGraph) -> None:
    x = g.some(ranks=(2,))
    if x is None or not isinstance(x.dims[1], int) or x.dims[1] == 0:
        return
    columns, trans = g.choices.pick((1, 4, 19)), g.choices.pick((0, 1))
    weights = g.weights(columns, x.dims[1]) if trans else g.weights(x.dims[1], columns)
    alpha, beta = g.choices.pick((1.0, 0.5)), g.choices.pick((1.0, 2.0))
    bias = [g.weights(*g.choices.pick(((columns,), (1, columns), (1,))))] if g.choices.pick((True, False)) else []
    g.add("Gemm", [x.name, weights, *bias], (x.dims[0], columns), alpha=alpha, beta=beta, transB=trans)


def _window(
    g: RandomGraph, dims: Sequence[Dim], kernel: int, stride: int, dilation: int, pads: int
) -> list[Dim] | None:
    """The spatial dims after a window has passed; None when it does not fit."""
    span, result = (kernel - 1) * dilation + 1, list[Dim]()
    for d in dims:
        smallest = d if isinstance(d, int) else (1 if d in g.sizes[0] else 0)
        if smallest + 2 * pads < span:
            return None
        result.append(
            (d + 2 * pads - span) // stride + 1 if isinstance(d, int) else f"({d}+{2 * pads}-{span})/{stride}"
        )
    return result


def conv(g: RandomGraph) -> None:
    x = g.some(ranks=(3, 4))
    if x is None or not isinstance(x.dims[1], int) or 0 in x.dims:
        return
    channels, kernel = x.dims[1], g.choices.pick((1, 2, 3, 5))
    stride, dilation, pads = g.choices.pick((1, 1, 2)), g.choices.pick((1, 1, 2)), g.choices.pick((0, 1, 2))
    spatial = _window(g, x.dims[2:], kernel, stride, dilation, pads)
    if spatial is None:
        return
    group = g.choices.pick((1, 1, channels))
    out = channels * g.choices.pick((1, 2)) if group > 1 else g.choices.pick((1, 3, 16, 20))
    weights = g.weights(out, channels // group, *[kernel] * len(spatial), scale=(channels // group * kernel) ** -0.5)
    bias = [g.weights(out)] if g.choices.pick((True, False)) else []
    rank = len(spatial)
    g.add(
        "Conv", [x.name, weights, *bias], (x.dims[0], out, *spatial),
        group=group, strides=[stride] * rank, dilations=[dilation] * rank, pads=[pads] * (2 * rank),
    )  # fmt: skip


def pool(g: RandomGraph) -> None:
    x = g.some(ranks=(3, 4))
    if x is None or 0 in x.dims:
        return
    kernel, stride = g.choices.pick((2, 3)), g.choices.pick((1, 2))
    pads = g.choices.pick((0, 1))
    spatial = _window(g, x.dims[2:], kernel, stride, 1, pads)
    if spatial is None:
        return
    rank, op = len(spatial), g.choices.pick(("MaxPool", "AveragePool"))
    more: dict[str, Any] = {"count_include_pad": g.choices.pick((0, 1))} if op == "AveragePool" else {}
    g.add(
        op, [x.name], (*x.dims[:2], *spatial),
        kernel_shape=[kernel] * rank, strides=[stride] * rank, pads=[pads] * (2 * rank), **more,
    )  # fmt: skip


def global_pool(g: RandomGraph) -> None:
    x = g.some(ranks=(4,))  # the evaluator reduces other axes at other ranks
    if x is not None and 0 not in x.dims:
        op = g.choices.pick(("GlobalAveragePool", "GlobalMaxPool"))
        g.add(op, [x.name], (*x.dims[:2], *(1 for _ in x.dims[2:])))


def batch_norm(g: RandomGraph) -> None:
    x = g.some(ranks=range(2, 5))
    if x is None or not isinstance(x.dims[1], int) or 0 in x.dims:
        return
    c = x.dims[1]
    variance = g.constant(np.linspace(0.5, 2, c, dtype=np.float32))
    g.add("BatchNormalization", [x.name, g.weights(c), g.weights(c), g.weights(c), variance], x.dims)


def layer_norm(g: RandomGraph) -> None:
    x = g.some(ranks=range(2, 5))
    if x is None or not isinstance(x.dims[-1], int) or x.dims[-1] < 2 or 0 in x.dims:
        return
    c = x.dims[-1]
    g.add("LayerNormalization", [x.name, g.weights(c), g.weights(c)], x.dims, axis=-1, epsilon=0.01)


def expand(g: RandomGraph) -> None:
    x = g.some(*NUMBERS, ranks=range(0, 4))
    if x is not None and all(isinstance(d, int) for d in x.dims):
        shape = [g.choices.pick((2, 3)) if d == 1 else int(d) for d in x.dims]
        shape = [*([g.choices.pick((1, 2))] if g.choices.pick((True, False)) else []), *shape]
        g.add("Expand", [x.name, g.ints(*shape)], shape, x.dtype, x.exact)


def tile(g: RandomGraph) -> None:
    x = g.some(*NUMBERS, ranks=range(1, 5))
    if x is not None:
        repeats = [1 if isinstance(d, str) else g.choices.pick((1, 1, 2)) for d in x.dims]
        dims = [d if isinstance(d, str) else d * r for d, r in zip(x.dims, repeats, strict=True)]
        g.add("Tile", [x.name, g.ints(*repeats)], dims, x.dtype, x.exact)


def shape(g: RandomGraph) -> None:
    """Reshape to the shape of a value of the same number of elements: shape arithmetic that inference follows."""
    x = g.some(*NUMBERS, ranks=range(1, 6))
    if x is not None and 0 not in x.dims:
        size = g.add("Shape", [x.name], (len(x.dims),), INT, exact=True)
        flat = g.add("Reshape", [x.name, g.ints(-1)], ("*".join(map(str, x.dims)),), x.dtype, x.exact)
        g.add("Reshape", [flat.name, size.name], x.dims, x.dtype, x.exact)


OPERATORS: tuple[Callable[[RandomGraph], None], ...] = (
    unary, unary, unary, guarded, step, binary, binary, binary, select, cast, reduce, reduce, arg_reduce, softmax,
    transpose, reshape, squeeze, concat, split, slice_, pad, gather, matmul, products, gemm, conv, conv, pool,
    global_pool, batch_norm, layer_norm, expand, tile, shape, *LAYERS, *LAYERS, *SELECTIONS,
)  # fmt: skip
