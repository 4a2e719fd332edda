"""Every node that can be added, against numpy: all in one network, which is built and run once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import magicmind.python.runtime as mm
from magicmind.facade.nodes import ROWS
from magicmind.testing.magicmind_api import run

Array = npt.NDArray[Any]
RNG = np.random.default_rng(5)


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def i(*values: int, dtype: str = "int32") -> Array:
    return np.array(values, dtype)


X, Y = f(2, 4, 6, 6), f(2, 4, 6, 6)
M, K = f(3, 4), f(4, 5)
WHOLE, PART = i(7, -7, 9, -9), i(2, 2, -4, -4)
POSITIVE = np.abs(f(2, 3)) + 0.5


@dataclass(frozen=True)
class Case:
    """A node on inputs, and its results."""

    row: str
    inputs: Sequence[Array]
    add: Callable[..., Any]
    expected: Sequence[Array]


def c(array: Any, dtype: str = "INT32") -> Callable[[mm.Network], Any]:
    """A constant operand, made when the network is there."""
    data = np.asarray(array)
    return lambda n: n.add_i_const_node(mm.DataType[dtype], mm.Dims(data.shape), data).get_output(0)


def call(row: str, *operands: Any, expect: Any, **settings: Any) -> Case:
    """As `node`, with operands in any order: arrays are inputs, functions make constants."""
    arrays = [o for part in operands for o in (part if isinstance(part, list) else [part]) if isinstance(o, np.ndarray)]

    def add(network: mm.Network, *tensors: Any) -> Any:
        left = list(tensors)

        def made(operand: Any) -> Any:
            if isinstance(operand, list) and any(isinstance(o, np.ndarray) for o in operand):
                return [made(o) for o in operand]
            if isinstance(operand, np.ndarray):
                return left.pop(0)
            return operand(network) if callable(operand) and not isinstance(operand, type) else operand

        found = getattr(network, f"add_i_{row}_node")(*(made(o) for o in operands))
        assert found is not None
        for name, value in settings.items():
            assert getattr(found, f"set_{name}")(*(value if isinstance(value, tuple) else (value,))).ok()
        return found

    return Case(row, arrays, add, expect if isinstance(expect, list) else [expect])


def conv(x: Array, w: Array, stride: int = 1, pad: int = 0, group: int = 1) -> Array:
    """Plain convolution."""
    x = np.pad(x, [(0, 0), (0, 0), *[(pad, pad)] * (x.ndim - 2)])
    axes = tuple(range(2, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=axes)
    windows = windows[(slice(None), slice(None), *[slice(None, None, stride)] * len(axes))]
    outs, ins = w.shape[0] // group, w.shape[1]
    parts = []
    for g in range(group):
        part, kernel = windows[:, g * ins : (g + 1) * ins], w[g * outs : (g + 1) * outs]
        spatial = list(range(2 + len(axes), part.ndim))
        sums = np.tensordot(part, kernel, ([1, *spatial], list(range(1, kernel.ndim))))
        parts.append(np.moveaxis(sums, -1, 1))
    return np.concatenate(parts, 1)


def pooled(x: Array, how: Any) -> Array:
    n, ch, h, w = x.shape
    found: Array = how(x.reshape(n, ch, h // 2, 2, w // 2, 2), axis=(3, 5))
    return found


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    found: Array = e / e.sum(axis, keepdims=True)
    return found


W, B, DEPTHWISE, W1, W3 = f(8, 4, 3, 3), f(8), f(4, 1, 3, 3), f(8, 4, 3), f(8, 4, 3, 3, 3)
CUBE, LINE = f(1, 4, 5, 5, 5), f(2, 4, 7)
MEAN, VAR, GAMMA, BETA = f(4), np.abs(f(4)) + 1.0, f(4), f(4)


def per_channel(v: Array) -> Array:
    return v.reshape(1, -1, 1, 1)


BATCHES = np.arange(2 * 4 * 4, dtype=np.float32).reshape(1, 4, 4, 2)
TO_BATCH = BATCHES.reshape(1, 2, 2, 2, 2, 2).transpose(2, 4, 0, 1, 3, 5).reshape(4, 2, 2, 2)
MASK = np.array([[True, False, True, False], [False, False, True, True], [True, True, True, False]])
BOXES = np.array([[[0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]]], np.float32)
CENTRES = np.concatenate([(BOXES[..., :2] + BOXES[..., 2:]) / 2, BOXES[..., 2:] - BOXES[..., :2]], axis=-1)
SCORES = np.array([[[0.9, 0.8, 0.7]]], np.float32)
ORDER = np.array([2, 0, 1], np.int32)
NORMED = (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-5)
GROUPS = X.reshape(2, 2, -1)
GROUPED = ((GROUPS - GROUPS.mean(-1, keepdims=True)) / np.sqrt(GROUPS.var(-1, keepdims=True) + 1e-5)).reshape(X.shape)

CASES: Sequence[Case] = (
    call("const", mm.DataType.FLOAT32, mm.Dims([2]), [1, 2], expect=np.array([1, 2], np.float32)),
    call("permute", X, c([0, 2, 3, 1]), expect=X.transpose(0, 2, 3, 1)),
    call("transpose", X, 1, -1, expect=X.swapaxes(1, 3)),
    call("range", c([1]), c([9]), c([3]), expect=i(1, 4, 7)),
    call("range", c(1), c(9), c(3), expect=i(1, 4, 7)),
    call("unsqueeze", M, c([1]), expect=M[:, None]),
    call("squeeze", M[:, None], c([1]), expect=M),
    call("cast", M, mm.DataType.INT32, expect=M.astype(np.int32)),
    call("fill", c([3]), c([2.5], "FLOAT32"), expect=np.full(3, 2.5, np.float32)),
    call("slice", X, c([1]), c(2), c([2]), expect=X[:, :, 1:3]),
    call("strided_slice", X, c([0]), c([6]), c([2]), c([3]), expect=X[..., 0:6:2]),
    call("split", X, 1, 2, expect=[X[:, :2], X[:, 2:]]),
    call("concat", 1, [X, Y], expect=np.concatenate([X, Y], 1)),
    call("pack", 0, [M, M + 1], expect=np.stack([M, M + 1])),
    call("reshape", X, c([2, -1]), expect=X.reshape(2, -1)),
    call("tile", M, c([2, 1]), expect=np.tile(M, (2, 1))),
    call("pad", M, c([[1, 0], [0, 2]]), c([7.0], "FLOAT32"), expect=np.pad(M, [(1, 0), (0, 2)], constant_values=7)),
    call("crop", X, [3, 3], [1, 2], 2, expect=X[:, :, 1:4, 2:5]),
    call("space_to_batch", BATCHES, c([2, 2]), c([[0, 0], [0, 0]]), expect=TO_BATCH),
    call("batch_to_space", TO_BATCH, c([2, 2]), c([[0, 0], [0, 0]]), expect=BATCHES),
    call("batch_to_space", TO_BATCH, c([2, 2]), c([[0, 1], [1, 0]]), expect=BATCHES[:, :3, 1:]),
    call("select", M, M + 1, MASK, expect=np.where(MASK, M, M + 1)),
    call("where", MASK, expect=np.argwhere(MASK)),
    call("masked_fill", M, MASK, c([0.5], "FLOAT32"), expect=np.where(MASK, 0.5, M)),
    call("masked_select", M, MASK, expect=M[MASK]),
    call("scatter", M, 0, c([[0, 1, 2, 0]]), f(1, 4), mm.enums.IScatter.SCATTER, expect=[]),
    call("gather_elw", M, c([[0], [3], [1]]), 1, expect=np.take_along_axis(M, np.array([[0], [3], [1]]), 1)),
    call("embedding", M, i(2, 0), expect=M[[2, 0]]),
    call("random_uniform", c([2, 3]), 1.0, 0.0, mm.DataType.FLOAT32, expect=[]),
    call("invert_permutation", ORDER, expect=np.argsort(ORDER).astype(np.int32)),
    call("reverse", M, c([1]), expect=M[:, ::-1]),
    call("reorg", X, 2, expect=[]),
    call("shuffle_channel", X, 2, expect=X.reshape(2, 2, 2, 6, 6).swapaxes(1, 2).reshape(X.shape)),
    call("logic", M, c(0.0, "FLOAT32"), mm.enums.ILogic.LT, expect=M < 0),
    call("logic", M, c(0.0, "FLOAT32"), mm.enums.ILogic.NE, expect=M != 0),
    call("logic", MASK, None, mm.enums.ILogic.NOT, expect=~MASK),
    call("logic", MASK, MASK[::-1].copy(), mm.enums.ILogic.XOR, expect=MASK ^ MASK[::-1]),
    call("reduce", X, c([2, 3]), mm.IReduce.MAX, True, expect=X.max((2, 3), keepdims=True)),
    call("reduce", X, c([1]), mm.IReduce.NORM2, False, expect=np.sqrt((X * X).sum(1))),
    call("std", X, c([1]), expect=X.std(1)),
    *(call("activation", M, getattr(mm.IActivation, k), expect=g(M)) for k, g in (
        ("RELU", lambda v: np.maximum(v, 0)), ("SIGMOID", lambda v: 1 / (1 + np.exp(-v))), ("TANH", np.tanh),
    )),
    call("conv", X, c(W, "FLOAT32"), c(B, "FLOAT32"), pad=(1, 1), stride=2,
         expect=conv(X, W, 2, 1) + per_channel(B)),
    call("conv", X.transpose(0, 2, 3, 1).copy(), c(W.transpose(0, 2, 3, 1), "FLOAT32"), None,
         expect=conv(X, W).transpose(0, 2, 3, 1), layout=(mm.Layout.NHWC, mm.Layout.NHWC, mm.Layout.NHWC)),
    call("conv", X, c(W, "FLOAT32"), None, padding_mode=mm.IPaddingMode.SAME, expect=conv(X, W, 1, 1)),
    call("conv1d", LINE, c(W1, "FLOAT32"), None, expect=conv(LINE, W1)),
    call("conv3d", CUBE, c(W3, "FLOAT32"), None, expect=conv(CUBE, W3)),
    call("conv_depthwise", X, c(DEPTHWISE, "FLOAT32"), None, expect=conv(X, DEPTHWISE, group=4)),
    call("deconv", X, c(f(4, 2, 2, 2), "FLOAT32"), None, None, stride=2, expect=[]),
    call("deconv1d", LINE, c(f(4, 2, 2), "FLOAT32"), None, None, stride=2, expect=[]),
    call("deform_conv2d", X, c(W, "FLOAT32"), np.zeros((2, 18, 4, 4), np.float32), np.ones((2, 9, 4, 4), np.float32),
         c(B, "FLOAT32"), expect=conv(X, W) + per_channel(B)),
    call("max_pool2d", X, False, expect=pooled(X, np.max)),
    call("max_pool2d", X, True, expect=[pooled(X, np.max)]),
    call("avg_pool2d", X, expect=pooled(X, np.mean)),
    call("max_pool3d", CUBE, False, kernel=5, expect=CUBE.max((2, 3, 4), keepdims=True)),
    call("avg_pool3d", CUBE, kernel=5, expect=CUBE.mean((2, 3, 4), keepdims=True)),
    call("unpool2d", f(1, 1, 2, 2), c(np.array([[[[0, 3], [12, 15]]]]), "INT64"), mm.enums.IUnpoolMode.MAX, expect=[]),
    call("resize", X, c([12, 12]), mode="nearest", half_pixel_centers=False, expect=X.repeat(2, 2).repeat(2, 3)),
    call("interp", X, c([3, 3]), None, mode="nearest", half_pixel_centers=False, expect=X[:, :, ::2, ::2]),
    *(call(n, M, c(K, "FLOAT32"), None, expect=M @ K) for n in ("matmul", "mat_mul")),
    call("matmul", M, c(K.T, "FLOAT32"), c(f(1), "FLOAT32"), trans_b=True, expect=[]),
    call("inner_product", M, c(K.T, "FLOAT32"), c(B[:5], "FLOAT32"), expect=M @ K + B[:5]),
    *(call("elementwise", M, M + 1, getattr(mm.enums.IElementwise, k), expect=g(M, M + 1)) for k, g in (
        ("ADD", np.add), ("SUB", np.subtract), ("MUL", np.multiply),
    )),
    call("div", M, POSITIVE[:1, :1], expect=M / POSITIVE[:1, :1]),
    call("maximum", M, M[:1], expect=np.maximum(M, M[:1])),
    call("minimum", M, M[:1], expect=np.minimum(M, M[:1])),
    call("pow", POSITIVE, c(2.0, "FLOAT32"), expect=POSITIVE**2),
    call("floor_div", WHOLE, PART, expect=WHOLE // PART),
    call("floor_mod", WHOLE, PART, expect=WHOLE % PART),
    call("floor_div", M, c(0.3, "FLOAT32"), expect=[]),
    call("squared_difference", M, M[:1], expect=(M - M[:1]) ** 2),
    *(call(n, POSITIVE, expect=g(POSITIVE)) for n, g in (
        ("abs", np.abs), ("cos", np.cos), ("sin", np.sin), ("exp", np.exp), ("floor", np.floor), ("sqrt", np.sqrt),
        ("sign", np.sign), ("softplus", lambda v: np.log1p(np.exp(v))), ("softsign", lambda v: v / (1 + np.abs(v))),
        ("clone", lambda v: v), ("square", np.square), ("rsqrt", lambda v: 1 / np.sqrt(v)), ("elu", lambda v: v),
    )),
    call("erf", M, expect=[]), call("selu", M, expect=[]), call("lrn", X, expect=[]),
    call("is_finite", np.array([1, np.nan, np.inf], np.float32), expect=np.array([True, False, False])),
    call("log", POSITIVE, mm.enums.ILog.LOG_E, expect=np.log(POSITIVE)),
    call("tril", M, expect=np.tril(M)),
    call("softmax", M, c([1]), expect=softmax(M, 1)),
    call("log_softmax", M, c(0), expect=np.log(softmax(M, 0))),
    call("arg_max", M, c([1]), expect=M.argmax(1)),
    call("arg_min", M, c([1]), keep_dims=True, expect=M.argmin(1)[:, None]),
    call("top_k", M, c([2]), expect=[-np.sort(-M, 1)[:, :2], np.argsort(-M, 1)[:, :2]]),
    call("fused_batch_norm", X, *(c(v, "FLOAT32") for v in (MEAN, VAR, GAMMA, BETA)), epsilon=1e-3,
         expect=(X - per_channel(MEAN)) / np.sqrt(per_channel(VAR) + 1e-3) * per_channel(GAMMA) + per_channel(BETA)),
    call("layer_norm", X, None, None, [6], 1e-5, expect=NORMED),
    call("group_norm", X, c(GAMMA, "FLOAT32"), c(BETA, "FLOAT32"), 2, 1e-5, 1,
         expect=GROUPED * per_channel(GAMMA) + per_channel(BETA)),
    call("scale", X, c(GAMMA, "FLOAT32"), c(BETA, "FLOAT32"), expect=X * per_channel(GAMMA) + per_channel(BETA)),
    call("normalize", X, c([1]), c(GAMMA, "FLOAT32"),
         expect=X / np.sqrt((X * X).sum(1, keepdims=True)) * per_channel(GAMMA)),
    call("prelu", X, c(GAMMA, "FLOAT32"), expect=np.where(X < 0, X * per_channel(GAMMA), X)),
    call("threshold", M, threshold=0.2, expect=(M > 0.2).astype(np.float32)),
    call("clip", M, c([-0.5], "FLOAT32"), None, expect=np.maximum(M, -0.5)),
    call("cosine_similarity", M, M + 1, c([1]),
         expect=(M * (M + 1)).sum(1) / np.linalg.norm(M, axis=1) / np.linalg.norm(M + 1, axis=1)),
    call("non_max_suppression", BOXES, SCORES, c([3]), c([0.5], "FLOAT32"), c([0.1], "FLOAT32"),
         expect=[i(0, 0, 0, 0, 0, 2).reshape(2, 3), np.int32(2)]),
    call("non_max_suppression", CENTRES[0].T.copy(), SCORES[0, 0], c([4]), c([0.5], "FLOAT32"), c([0.1], "FLOAT32"),
         input_layout=1, boxes_coorinate_format="CENTER", pad_to_max_output_size=True, output_mode=0,
         expect=[i(0, 2, 0, 0), np.int32(2)]),
)  # fmt: skip


def test_every_row_has_a_case() -> None:
    elsewhere = {"detection_output"}  # scripts_test.py
    assert {row.name for row in ROWS} - {case.row for case in CASES} == elsewhere


@pytest.fixture(scope="module")
def results() -> dict[int, list[Array]]:
    """The results of all cases, by number."""
    network, counts = mm.Network(), []
    feeds: list[Array] = []
    for case in CASES:
        tensors = [network.add_input(mm.get_datatype_by_numpy(a.dtype), mm.Dims(a.shape)) for a in case.inputs]
        feeds += case.inputs
        made = case.add(network, *tensors)
        count = made.get_output_count()
        for k in range(count):
            assert network.mark_output(made.get_output(k)).ok()
        counts.append(count)
    found = iter(run(network, *feeds, config='{"graph_shape_mutable": false}'))
    return {n: [next(found) for _ in range(count)] for n, count in enumerate(counts)}


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{n}-{case.row}" for n, case in enumerate(CASES)])
def test_what_a_node_computes(number: int, results: dict[int, list[Array]]) -> None:
    case = CASES[number]
    found = results[number]
    assert len(found) >= len(case.expected) and all(np.isfinite(a).all() for a in found)
    for got, wanted in zip(found, case.expected, strict=False):
        assert got.dtype.kind == np.asarray(wanted).dtype.kind
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
