"""Every node that can be added, against numpy: all in one network, which is built and run once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import magicmind.python.runtime as mm
from magicmind.facade.enums import get_datatype_by_numpy
from magicmind.facade.nodes import ROWS
from magicmind.testing.magicmind_api import config, run

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
            if isinstance(operand, list):
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


FIRST = (mm.Layout.NCHW, mm.Layout.NCHW, mm.Layout.NCHW)
W, B, DEPTHWISE, W1, W3 = f(8, 4, 3, 3), f(8), f(4, 1, 3, 3), f(8, 4, 3), f(8, 4, 3, 3, 3)
CUBE, LINE = f(1, 4, 5, 5, 5), f(2, 4, 7)
MEAN, VAR, GAMMA, BETA = f(4), np.abs(f(4)) + 1.0, f(4), f(4)


def last(v: Array) -> Array:
    """Channels as the last axis."""
    return np.ascontiguousarray(np.moveaxis(v, 1, -1))


ONES, TWICE = np.ones((4, 2, 2, 2), np.float32), f(2, 3, 3, 4)
MAXIMA, LADDER = f(1, 1, 2, 2), np.arange(3, dtype=np.float32).reshape(1, 1, 1, 3)
UNPOOLED = np.zeros((1, 1, 4, 4), np.float32)
UNPOOLED[..., ::3, ::3] = MAXIMA


def per_channel(v: Array) -> Array:
    return v.reshape(1, -1, 1, 1)


BATCHES = np.arange(2 * 4 * 4, dtype=np.float32).reshape(1, 4, 4, 2)
TO_BATCH = BATCHES.reshape(1, 2, 2, 2, 2, 2).transpose(2, 4, 0, 1, 3, 5).reshape(4, 2, 2, 2)
MASK = np.array([[True, False, True, False], [False, False, True, True], [True, True, True, False]])
BOXES = np.array([[[0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]]], np.float32)
CENTRES = np.concatenate([(BOXES[..., :2] + BOXES[..., 2:]) / 2, BOXES[..., 2:] - BOXES[..., :2]], axis=-1)
SCORES = np.array([[[0.9, 0.8, 0.7]]], np.float32)
ROWS_OF_BOXES = np.array([[0.9, 0, 0, 2, 2], [0.7, 5, 5, 6, 6]], np.float32)
REGIONS = np.array([[0, 0, 0, 2, 2], [1, 0, 0, 5, 5]], np.float32)
STEPS, RNN, RNN_BIAS = f(5, 2, 4), (f(3, 4), f(3, 3), f(2, 3)), (f(3), f(2))
MARKS = np.array([[0, 0], [1, 1], [1, 0], [0, 1], [1, 1]], np.float32)
GRU = [f(3, 4) for _ in range(3)] + [f(3, 3) for _ in range(3)], [f(3) for _ in range(6)]
DEEPER = [f(3, 3) for _ in range(6)]


def rnn(marks: Array, bias: Array | float = 0.0, out_bias: Array | float = 0.0) -> Array:
    h, found = np.zeros((2, 3)), []
    for x, mark in zip(STEPS, marks, strict=True):
        h = np.tanh(x @ RNN[0].T + (h * mark[:, None]) @ RNN[1].T + bias)
        found.append(np.tanh(h @ RNN[2].T + out_bias))
    return np.array(found)


def gru() -> list[Array]:
    """As PyTorch documents it."""
    (ir, iz, in_, hr, hz, hn), (bir, biz, bin_, bhr, bhz, bhn) = GRU
    h, found = np.zeros((2, 3)), []
    for x in STEPS:
        r, z = (
            1 / (1 + np.exp(-(x @ a.T + b + h @ k.T + d))) for a, b, k, d in ((ir, bir, hr, bhr), (iz, biz, hz, bhz))
        )
        n = np.tanh(x @ in_.T + bin_ + r * (h @ hn.T + bhn))
        h = (1 - z) * n + z * h
        found.append(h)
    return [np.array(found), h[None]]


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
    call("strided_slice", X, c([1, 2]), c([0, 0]), None, end_mask=2, shrink_axis_mask=1, expect=X[1, 2:]),
    call("strided_slice", M, c([0, 3]), c([0, 0]), c([1, -1]), begin_mask=1, end_mask=3, expect=M[:, ::-1]),
    call("split", X, 1, 2, expect=[X[:, :2], X[:, 2:]]),
    call("concat", 1, [X, Y], expect=np.concatenate([X, Y], 1)),
    call("pack", 0, [M, M + 1], expect=np.stack([M, M + 1])),
    call("reshape", X, c([2, -1]), expect=X.reshape(2, -1)),
    call("tile", M, c([2, 1]), expect=np.tile(M, (2, 1))),
    call("pad", M, c([[1, 0], [0, 2]]), c([7.0], "FLOAT32"), expect=np.pad(M, [(1, 0), (0, 2)], constant_values=7)),
    call("pad", X, c([1, 0, 0, 2]), None, expect=np.pad(X, [(0, 0), (0, 0), (1, 0), (0, 2)])),
    call("crop", X, [3, 3], [1, 2], 2, expect=X[:, :, 1:4, 2:5]),
    call("crop", X, f(2, 4, 2, 3), offset=[1], axis=2, expect=X[:, :, 1:3, 1:4]),
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
    call("random_uniform", c([4]), c([5.0], "FLOAT32"), c([5.0], "FLOAT32"), mm.DataType.FLOAT32, seed=3,
         expect=np.full(4, 5, np.float32)),
    call("as_strided", X, [3, 4], [1, 2], 3, expect=np.lib.stride_tricks.as_strided(X.ravel()[3:], (3, 4), (4, 8))),
    call("as_strided", M, [2], [9], stride=[2], storage_offset=1, expect=M.ravel()[1:5:2]),
    call("list_diff", i(3, 1, 2, 1, 5), i(1, 4), expect=[i(3, 2, 5), i(0, 2, 4)]),
    call("dynamic_stitch", [M, M[:2] + 1], [c([0, 2, 4]), c([1, 3])],
         expect=np.stack([M[0], M[0] + 1, M[1], M[1] + 1, M[2]])),
    call("dynamic_stitch", [M], [c([2, 0, 1])], expect=M[[1, 2, 0]]),
    call("matrix_band_part", X, c(1, "INT64"), c(-1, "INT64"), expect=np.triu(X, -1)),
    call("matrix_band_part", M, np.array(0), np.array(1), expect=np.triu(np.tril(M, 1))),
    call("invert_permutation", ORDER, expect=np.argsort(ORDER).astype(np.int32)),
    call("reverse", M, c([1]), expect=M[:, ::-1]),
    call("reorg", X, stride=2, layout=FIRST[:2],
         expect=X.reshape(2, 1, 6, 2, 6, 2).transpose(0, 3, 5, 1, 2, 4).reshape(2, 16, 3, 3)),
    call("reorg", X, 2, reverse=True, layout=FIRST[:2],
         expect=X.reshape(2, 2, 2, 1, 6, 6).transpose(0, 3, 4, 1, 5, 2).reshape(2, 1, 12, 12)),
    call("shuffle_channel", X, 2, expect=X.reshape(2, 2, 2, 6, 6).swapaxes(1, 2).reshape(X.shape)),
    call("shuffle_channel", X, group=3, axis=2, expect=X.reshape(2, 4, 3, 2, 6).swapaxes(2, 3).reshape(X.shape)),
    call("logic", M, c(0.0, "FLOAT32"), mm.enums.ILogic.LT, expect=M < 0),
    call("logic", M, c(0.0, "FLOAT32"), mm.enums.ILogic.NE, expect=M != 0),
    call("logic", MASK, None, mm.enums.ILogic.NOT, expect=~MASK),
    call("logic", MASK, MASK[::-1].copy(), mm.enums.ILogic.XOR, expect=MASK ^ MASK[::-1]),
    call("reduce", X, c([2, 3]), mm.IReduce.MAX, True, expect=X.max((2, 3), keepdims=True)),
    call("reduce", X, c([1]), mm.IReduce.NORM2, False, expect=np.sqrt((X * X).sum(1))),
    call("std", X, c([1]), expect=X.std(1)),
    call("std", X, c([2, 3]), unbiased=True, keep_dims=True, expect=X.std((2, 3), ddof=1, keepdims=True)),
    call("leaky_relu", M, negative_slope=0.5, expect=np.where(M < 0, M / 2, M)),
    *(call("activation", M, getattr(mm.IActivation, k), expect=g(M)) for k, g in (
        ("RELU", lambda v: np.maximum(v, 0)), ("SIGMOID", lambda v: 1 / (1 + np.exp(-v))), ("TANH", np.tanh),
    )),
    call("conv", X, c(W, "FLOAT32"), c(B, "FLOAT32"), pad=(1, 1), stride=2, layout=FIRST,
         expect=conv(X, W, 2, 1) + per_channel(B)),
    call("conv", X.transpose(0, 2, 3, 1).copy(), c(W.transpose(0, 2, 3, 1), "FLOAT32"), None,
         expect=conv(X, W).transpose(0, 2, 3, 1)),
    call("conv", X, c(W, "FLOAT32"), c(B.round(), "INT32"), padding_mode=mm.IPaddingMode.SAME, layout=FIRST,
         expect=conv(X, W, 1, 1) + per_channel(B.round())),
    call("conv1d", LINE, c(W1, "FLOAT32"), None, layout=(mm.Layout.NCT,), expect=conv(LINE, W1)),
    call("conv3d", CUBE, c(W3, "FLOAT32"), None, layout=(mm.Layout.NCDHW,), expect=conv(CUBE, W3)),
    call("conv_depthwise", X, c(DEPTHWISE, "FLOAT32"), None, layout=FIRST, expect=conv(X, DEPTHWISE, group=4)),
    call("conv_depthwise", last(X), c(TWICE, "FLOAT32"), None,
         expect=last(conv(X, TWICE.transpose(3, 0, 1, 2).reshape(8, 1, 3, 3), group=4))),
    call("deconv", X, c(ONES, "FLOAT32"), None, None, stride=2, layout=FIRST,
         expect=np.kron(X.sum(1, keepdims=True), np.ones((2, 2), np.float32)).repeat(2, 1)),
    call("deconv", X, c(ONES, "FLOAT32"), None, None, stride=3, out_pad=1, layout=FIRST, expect=[]),
    call("deconv1d", LINE, c(ONES[..., 0], "FLOAT32"), None, None, stride=2, layout=(mm.Layout.NCT,),
         expect=LINE.sum(1, keepdims=True).repeat(2, 2).repeat(2, 1)),
    call("deform_conv2d", X, c(W, "FLOAT32"), np.zeros((2, 18, 4, 4), np.float32), np.ones((2, 9, 4, 4), np.float32),
         c(B, "FLOAT32"), layout=FIRST, expect=conv(X, W) + per_channel(B)),
    call("max_pool2d", X, False, layout=FIRST[:2], expect=pooled(X, np.max)),
    call("max_pool2d", last(X), True, expect=[last(pooled(X, np.max))]),
    call("max_pool2d", X, False, kernel=2, stride=1, dilation=(5, 5), layout=FIRST[:2],
         expect=X[:, :, [0, 5]][..., [0, 5]].max((2, 3), keepdims=True)),
    call("avg_pool2d", last(X), expect=last(pooled(X, np.mean))),
    call("max_pool3d", CUBE, False, kernel=5, layout=(mm.Layout.NCDHW,) * 2, expect=CUBE.max((2, 3, 4), keepdims=True)),
    call("avg_pool3d", CUBE, kernel=5, layout=(mm.Layout.NCDHW,) * 2, expect=CUBE.mean((2, 3, 4), keepdims=True)),
    call("unpool2d", last(MAXIMA), c(np.array([[[[0], [3]], [[12], [15]]]])), mm.enums.IUnpoolMode.MAX,
         expect=last(UNPOOLED)),
    call("resize", X, c([12, 12]), None, mode="nearest", half_pixel_centers=False, layout=FIRST[:1],
         expect=X.repeat(2, 2).repeat(2, 3)),
    call("resize", last(X), None, c([2.0, 2.0], "FLOAT32"), mode="nearest", half_pixel_centers=False,
         expect=last(X.repeat(2, 2).repeat(2, 3))),
    call("interp", X, c([3, 3]), mode="nearest", half_pixel_centers=False, layout=FIRST[:1], expect=X[:, :, ::2, ::2]),
    call("interp", LADDER, None, zoom_factor=2, align_corners=True, layout=FIRST[:1],
         expect=np.arange(5, dtype=np.float32).reshape(1, 1, 1, 5) / 2),
    call("mat_mul", M, c(K, "FLOAT32"), None, expect=M @ K),
    call("mat_mul", M, c(K.T, "FLOAT32"), c(B[:5], "FLOAT32"), trans_b=True, scalar_ab=2.0, scalar_c=0.5,
         expect=2 * M @ K + B[:5] / 2),
    call("inner_product", M, c(K, "FLOAT32"), c(B[:5], "FLOAT32"), expect=M @ K + B[:5]),
    call("inner_product", last(X)[:1], c(f(24, 3), "FLOAT32"), None, axis=2, expect=[]),
    call("inner_product", M, c(K.T, "FLOAT32"), None, trans_b=True, expect=M @ K),
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
    call("top_k", M, c([1]), largest=False, sorted=False, axis=0, expect=[M.min(0)[None], M.argmin(0)[None]]),
    call("fused_batch_norm", X, *(c(v, "FLOAT32") for v in (MEAN, VAR, GAMMA, BETA)), epsilon=1e-3,
         expect=(X - per_channel(MEAN)) / np.sqrt(per_channel(VAR) + 1e-3) * per_channel(GAMMA) + per_channel(BETA)),
    call("layer_norm", X, None, None, [6], 1e-5, expect=NORMED),
    call("group_norm", X, c(GAMMA, "FLOAT32"), c(BETA, "FLOAT32"), 2, 1e-5, 1,
         expect=GROUPED * per_channel(GAMMA) + per_channel(BETA)),
    call("group_norm", X.transpose(0, 2, 3, 1).copy(), None, None, 1, 1e-5, 1, num_groups=2, axis=3,
         expect=last(GROUPED)),
    call("scale", X, c(GAMMA, "FLOAT32"), c(BETA, "FLOAT32"), expect=X * per_channel(GAMMA) + per_channel(BETA)),
    call("normalize", X, c([1]), c(GAMMA, "FLOAT32"),
         expect=X / np.sqrt((X * X).sum(1, keepdims=True)) * per_channel(GAMMA)),
    call("normalize", X, c([1]), None, across_spatial=True, p=1, expect=X / np.abs(X).sum((1, 2, 3), keepdims=True)),
    call("prelu", X, c(GAMMA, "FLOAT32"), expect=np.where(X < 0, X * per_channel(GAMMA), X)),
    call("threshold", M, threshold=0.2, expect=(M > 0.2).astype(np.float32)),
    call("threshold", M, threshold=0.2, is_const_right_value=False, expect=np.where(M > 0.2, M, 0)),
    call("clip", M, c([-0.5], "FLOAT32"), None, expect=np.maximum(M, -0.5)),
    call("cosine_similarity", M, M + 1, c([1]),
         expect=(M * (M + 1)).sum(1) / np.linalg.norm(M, axis=1) / np.linalg.norm(M + 1, axis=1)),
    call("non_max_suppression", BOXES, SCORES, c([3]), c([0.5], "FLOAT32"), c([0.1], "FLOAT32"),
         expect=[i(0, 0, 0, 0, 0, 2).reshape(2, 3), np.int32(2)]),
    *(call("non_max_suppression", BOXES[0], SCORES[0, 0], c([4]), c([0.5], "FLOAT32"), c([0.1], "FLOAT32"),
           pad_to_max_output_size=pad, output_mode=mode, expect=[expected, np.int32(2)]) for pad, mode, expected in (
        (False, mm.enums.IOutputMode.OUTPUT_TARGET_CONFIDENCE_AND_POS_1, ROWS_OF_BOXES),
        (True, mm.enums.IOutputMode.OUTPUT_TARGET_CONFIDENCE_AND_POS_2, np.pad(ROWS_OF_BOXES, [(0, 2), (0, 0)]).T),
        (False, mm.enums.IOutputMode.OUTPUT_TARGET_BATCH_AND_CLASS, i(0, 0, 0, 0, 0, 2).reshape(2, 3)),
    )),
    call("non_max_suppression", CENTRES.copy(), SCORES, c([3]), c([0.5], "FLOAT32"), c([0.1], "FLOAT32"),
         boxes_coorinate_format=1, output_mode=1, expect=[ROWS_OF_BOXES, np.int32(2)]),
    call("roi_pool", X, REGIONS, pooled_shape=(1, 1), layout=FIRST[:2],
         expect=np.stack([X[0, :, :3, :3].max((1, 2)), X[1].max((1, 2))])[..., None, None]),
    call("roi_align", last(X), np.array([[1, 0, 0, 6, 6]], np.float32), pooled_shape=2, sampling_ratio=3, aligned=True,
         expect=last(X[1:].reshape(1, 4, 2, 3, 2, 3).mean((3, 5)))),
    call("psroi_pool", X, np.array([[1, 0, 0, 5, 5]], np.float32), output_dim=1, group_size=2, layout=FIRST[:2],
         expect=np.array([[[[X[1, k, r : r + 3, q : q + 3].mean() for k, q in ((i, 0), (i + 1, 3))]
                            for i, r in ((0, 0), (2, 3))]]], np.float32).reshape(1, 1, 2, 2)),
    call("proposal", np.zeros((1, 2, 2, 2), np.float32), np.zeros((1, 4, 2, 2), np.float32),
         np.array([[32, 32, 1]], np.float32), ratio=[1], scale=[1], min_size=1, post_nms_topn=4, layout=FIRST[:2],
         expect=[np.array([[0, 0, 0, 16, 16], [0, 16, 0, 31, 16], [0, 0, 16, 16, 31], [0, 16, 16, 31, 31]])
                 .astype(np.float32)]),
    call("rnn", STEPS, None, None, [c(v, "FLOAT32") for v in RNN], None, output_mode=mm.IRNNOutputMode.HAS_OUT_LAYER,
         hidden_size=3, expect=rnn(np.ones((5, 2)))),
    call("rnn", STEPS, MARKS, None, [c(v, "FLOAT32") for v in RNN], [c(v, "FLOAT32") for v in RNN_BIAS],
         output_mode="HAS_OUT_LAYER", bias_mode="SINGLE_INP_BIAS", has_mask=True, expect=rnn(MARKS, *RNN_BIAS)),
    call("rnn", STEPS.swapaxes(0, 1).copy(), None, f(1, 2, 3), [c(v, "FLOAT32") for v in RNN[:2]], None,
         layout=(mm.Layout.NTC, mm.Layout.TN, mm.Layout.NTC), active_mode=mm.IActivation.RELU, expect=[]),
    call("gru", STEPS, None, [c(v, "FLOAT32") for v in GRU[0]], [c(v, "FLOAT32") for v in GRU[1]], num_layers=1,
         input_size=4, hidden_size=3, expect=gru()),
    call("gru", STEPS, f(2, 2, 3), [c(v, "FLOAT32") for v in (*GRU[0], *DEEPER)], None, num_layers=2, expect=[]),
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
        tensors = [network.add_input(get_datatype_by_numpy(a.dtype), mm.Dims(a.shape)) for a in case.inputs]
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


REFUSED: dict[str, tuple[Case, str]] = {
    "an RNN of two directions with the weights of one": (
        call("rnn", STEPS, None, None, [c(v, "FLOAT32") for v in RNN[:2]], None, expect=[], bidirectional=True),
        "2 directions",
    ),
    "a GRU in no direction": (
        call("gru", STEPS, None, [c(v, "FLOAT32") for v in GRU[0]], None, expect=[], direction="UP"), "UP",
    ),
    "an RNN without its output weights": (
        call("rnn", STEPS, None, None, [c(v, "FLOAT32") for v in RNN[:2]], None, expect=[],
             output_mode="HAS_OUT_LAYER"), "2 weights",
    ),
    "a GRU of other sizes": (
        call("gru", STEPS, None, [c(v, "FLOAT32") for v in GRU[0]], None, expect=[], hidden_size=9), "hidden_size",
    ),
    "a GRU of more layers than weights": (
        call("gru", STEPS, None, [c(v, "FLOAT32") for v in GRU[0]], None, expect=[], num_layers=2), "2 layers",
    ),
    "lengths of no power": (call("normalize", X, c([1]), None, expect=[], p=0), "set_p"),
    "an ellipsis beside axes": (
        call("strided_slice", X, c([0]), c([1]), None, c([0]), expect=[], ellipsis_mask=1), "ellipsis",
    ),
    "two ellipses": (call("strided_slice", X, c([0, 0]), c([1, 1]), None, expect=[], ellipsis_mask=3), "one bit"),
    "more cuts than axes": (call("strided_slice", M, c([0] * 3), c([1] * 3), None, expect=[]), "has 2"),
    "another output of a suppression": (
        call("non_max_suppression", BOXES[0], SCORES[0, 0], c([4]), c([0.5], "FLOAT32"), c([0.1], "FLOAT32"),
             expect=[], output_mode=9), "no public meaning",
    ),
    "resizing in another way": (call("resize", X, c([3, 3]), None, expect=[], mode="area"), "nearest"),
    "resizing to nothing": (call("resize", X, None, None, expect=[]), "neither a size nor a scale"),
    "memory beyond the tensor": (call("as_strided", M, [4], [4], expect=[]), "of 12"),
    "a row below zero": (call("dynamic_stitch", [M], [c([0, 1, -5])], expect=[]), "below zero"),
    "blocks that do not fit": (call("reorg", X, 5, expect=[], layout=FIRST[:2]), "stride 5"),
    "no permutation": (call("invert_permutation", c([0, 0]), expect=[]), "no permutation"),
    "regions without a size": (call("roi_pool", X, REGIONS, expect=[]), "pooled_shape"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_node_refuses(what: str) -> None:
    case, text = REFUSED[what]
    network, builder = mm.Network(), mm.Builder()
    tensors = [network.add_input(get_datatype_by_numpy(a.dtype), mm.Dims(a.shape)) for a in case.inputs]
    assert network.mark_output(case.add(network, *tensors)).ok()
    assert builder.build_model("n", network, config('{"graph_shape_mutable": false}')) is None
    assert text in str(builder.status) and "INTERNAL" not in str(builder.status)
