"""Random graphs, continued: layers of networks, and control flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper

from magicmind.testing.random_graphs import BOOL, FLOAT, INT, Dim, RandomGraph


def conv_transpose(g: RandomGraph) -> None:
    x = g.some(ranks=(3, 4))
    if x is None or not isinstance(x.dims[1], int) or any(isinstance(d, str) or d == 0 for d in x.dims[1:]):
        return
    channels, kernel, stride = x.dims[1], g.choices.pick((1, 2, 3)), g.choices.pick((1, 2))
    group = g.choices.pick((1, 1, channels))
    out, pads, extra = g.choices.pick((1, 2, 5)), g.choices.pick((0, 1)), g.choices.pick(range(stride))
    spatial = [(int(d) - 1) * stride + kernel - 2 * pads + extra for d in x.dims[2:]]
    if min(spatial) < 1:
        return
    rank = len(spatial)
    weights = g.weights(channels, out, *[kernel] * rank, scale=(channels // group * kernel) ** -0.5)
    bias = [g.weights(out * group)] if g.choices.pick((True, False)) else []
    g.add(
        "ConvTranspose", [x.name, weights, *bias], (x.dims[0], out * group, *spatial), group=group,
        strides=[stride] * rank, pads=[pads] * (2 * rank), output_padding=[extra] * rank,
    )  # fmt: skip


def channel_norm(g: RandomGraph) -> None:
    x = g.some(ranks=(3, 4))
    if x is None or not isinstance(x.dims[1], int) or any(isinstance(d, int) and d < 2 for d in x.dims[2:]):
        return
    c = x.dims[1]
    if 0 in x.dims:
        return
    if g.choices.pick((True, False)):
        g.add("InstanceNormalization", [x.name, g.weights(c), g.weights(c)], x.dims, epsilon=0.01)
    elif all(isinstance(d, int) for d in x.dims):
        groups = g.choices.pick([n for n in (1, 2, 3, 5, c) if c % n == 0])
        g.add("GroupNormalization", [x.name, g.weights(c), g.weights(c)], x.dims, num_groups=groups, epsilon=0.01)


def rms_norm(g: RandomGraph) -> None:
    """x / sqrt(mean(x * x) + e) * w, spelt out."""
    x = g.some(ranks=range(2, 5))
    if x is None or not isinstance(x.dims[-1], int) or 0 in x.dims:
        return
    square = g.add("Mul", [x.name, x.name], x.dims)
    mean = g.add("ReduceMean", [square.name, g.ints(-1)], (*x.dims[:-1], 1), keepdims=1)
    root = g.add("Sqrt", [g.add("Add", [mean.name, g.scalar(0.01)], mean.dims).name], mean.dims)
    y = g.add("Div", [x.name, root.name], x.dims)
    g.add("Mul", [y.name, g.weights(x.dims[-1])], x.dims)


def attention(g: RandomGraph) -> None:
    """softmax(q k^T / 2) v, every one a product with weights of the same value."""
    x = g.some(ranks=(3,))
    if x is None or not isinstance(x.dims[2], int) or 0 in x.dims:
        return
    width = g.choices.pick((4, 7, 16))
    q, k, v = (
        g.add("MatMul", [x.name, g.weights(x.dims[2], width, scale=x.dims[2] ** -0.5)], (*x.dims[:2], width))
        for _ in range(3)
    )
    turned = g.add("Transpose", [k.name], (x.dims[0], width, x.dims[1]), perm=[0, 2, 1])
    scores = g.add("MatMul", [q.name, turned.name], (x.dims[0], x.dims[1], x.dims[1]))
    scaled = g.add("Mul", [scores.name, g.scalar(0.5)], scores.dims)
    weights = g.add("Softmax", [scaled.name], scores.dims, axis=-1)
    g.add("MatMul", [weights.name, v.name], v.dims)


def recurrent(g: RandomGraph) -> None:
    x = g.some(ranks=(3,))
    if x is None or not isinstance(x.dims[2], int) or 0 in x.dims:
        return
    op = g.choices.pick(("LSTM", "GRU", "RNN"))
    gates, hidden = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], g.choices.pick((1, 3, 8))
    small = g.add("Tanh", [x.name], x.dims)
    inputs = [small.name, g.weights(1, gates * hidden, x.dims[2], scale=0.5), g.weights(1, gates * hidden, hidden)]
    if g.choices.pick((True, False)):
        inputs.append(g.weights(1, 2 * gates * hidden))
    more: dict[str, Any] = {"linear_before_reset": g.choices.pick((0, 1))} if op == "GRU" else {}
    g.add_many(
        op, inputs, [(x.dims[0], 1, x.dims[1], hidden), (1, x.dims[1], hidden)], hidden_size=hidden, **more,
    )  # fmt: skip


def resize(g: RandomGraph) -> None:
    x = g.some(ranks=(4,))
    if x is None or any(isinstance(d, str) or d == 0 for d in x.dims[2:]) or 0 in x.dims:
        return
    scales = [g.choices.pick((1, 2, 3)) for _ in range(2)]
    dims = (*x.dims[:2], *(int(d) * s for d, s in zip(x.dims[2:], scales, strict=True)))
    factors = [g.constant(_floats(1, 1, *scales))]
    mode, place = g.choices.pick((("nearest", "asymmetric"), ("linear", "half_pixel"), ("linear", "align_corners")))
    more: dict[str, Any] = {"nearest_mode": "floor"} if mode == "nearest" else {}
    g.add("Resize", [x.name, "", *factors], dims, mode=mode, coordinate_transformation_mode=place, **more)


def _floats(*numbers: float) -> np.ndarray[Any, Any]:
    return np.array(numbers, np.float32)


def depth_space(g: RandomGraph) -> None:
    x = g.some(ranks=(4,))
    if x is None or any(isinstance(d, str) for d in x.dims[1:]):
        return
    c, h, w = (int(d) for d in x.dims[1:])
    if c and c % 4 == 0 and g.choices.pick((True, False)):
        mode = g.choices.pick(("DCR", "CRD"))
        g.add("DepthToSpace", [x.name], (x.dims[0], c // 4, 2 * h, 2 * w), FLOAT, x.exact, blocksize=2, mode=mode)
    elif h and w and h % 2 == 0 and w % 2 == 0:
        g.add("SpaceToDepth", [x.name], (x.dims[0], 4 * c, h // 2, w // 2), FLOAT, x.exact, blocksize=2)


def prelu(g: RandomGraph) -> None:
    x = g.some(ranks=range(2, 5))
    if x is not None and isinstance(x.dims[1], int) and x.dims[1]:
        g.add("PRelu", [x.name, g.weights(x.dims[1], *[1] * (len(x.dims) - 2))], x.dims)


def einsum(g: RandomGraph) -> None:
    x = g.some(ranks=(2, 3))
    if x is None or not isinstance(x.dims[-1], int) or 0 in x.dims:
        return
    letters = "bij"[-len(x.dims) :]
    columns = g.choices.pick((1, 5, 16))
    kept = g.choices.pick((letters[:-1] + "k", "k" + letters[:-1], letters[:-1]))
    size: dict[str, Dim] = {**dict(zip(letters, x.dims, strict=True)), "k": columns}
    weights = g.weights(x.dims[-1], columns)
    g.add("Einsum", [x.name, weights], [size[c] for c in kept], equation=f"{letters},jk->{kept}")


def branch(g: RandomGraph) -> None:
    """If: both ways read a value of the graph around."""
    x, tested = g.some(), g.some(FLOAT, exact=True)
    if x is None or tested is None or not x.dims or 0 in tested.dims:
        return
    largest = g.add("ReduceMax", [tested.name], (), exact=True, keepdims=0)
    go = g.add("Greater", [largest.name, g.scalar(g.choices.pick((0.0, 1.5)))], (), BOOL, exact=True)
    bodies = []
    for op in (g.choices.pick(("Neg", "Abs")), g.choices.pick(("Sigmoid", "Relu"))):
        name = g.fresh("inner")
        result = helper.make_tensor_value_info(name, FLOAT, [None] * len(x.dims))
        bodies.append(helper.make_graph([helper.make_node(op, [x.name], [name], f"node_{name}")], name, [], [result]))
    g.add("If", [go.name], x.dims, then_branch=bodies[0], else_branch=bodies[1])


def loop(g: RandomGraph) -> None:
    """Loop: s = tanh(s + x), some times; the last s, and all of them where the evaluator stacks them rightly."""
    x = g.some(ranks=range(1, 4))
    if x is None or 0 in x.dims:
        return
    turns, name = g.choices.pick((1, 3, 4)), g.fresh("body")
    count, more, again, state, total, after, kept = (f"{name}_{part}" for part in range(7))
    stacked = len(x.dims) == 1
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Identity", [more], [again], f"node_{again}"),
        helper.make_node("Add", [state, x.name], [total], f"node_{total}"),
        helper.make_node("Tanh", [total], [after], f"node_{after}"),
        helper.make_node("Identity", [after], [kept], f"node_{kept}"),
    ]
    unknown = [None] * len(x.dims)
    carried, results = [info(count, INT, []), info(more, BOOL, [])], [info(again, BOOL, [])]
    body = helper.make_graph(
        nodes[: 4 if stacked else 3],
        name,
        [*carried, info(state, FLOAT, unknown)],
        [*results, info(after, FLOAT, unknown), *([info(kept, FLOAT, unknown)] if stacked else [])],
    )
    inputs = [g.constant(np.array(turns, np.int64)), g.constant(np.array(True)), x.name]
    g.add_many("Loop", inputs, [x.dims, (turns, *x.dims)][: 2 if stacked else 1], body=body)


def sequences(g: RandomGraph) -> None:
    """Cut into a sequence of tensors and joined again."""
    x = g.some(ranks=range(1, 5))
    if x is None or not isinstance(x.dims[0], int) or x.dims[0] == 0:
        return
    parts = g.fresh("parts")
    one = g.constant(np.array(g.choices.pick((1, 2)), np.int64))
    g.nodes.append(helper.make_node("SplitToSequence", [x.name, one], [parts], f"node_{parts}", axis=0))
    joined = g.fresh("joined")  # as far as the compiler knows, of any size
    g.add("ConcatFromSequence", [parts], (joined, *x.dims[1:]), FLOAT, x.exact, axis=0)


LAYERS: tuple[Callable[[RandomGraph], None], ...] = (
    conv_transpose, channel_norm, rms_norm, attention, recurrent, resize, depth_space, prelu, einsum, branch, loop,
    sequences,
)  # fmt: skip
