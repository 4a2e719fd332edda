"""Every importer against PyTorch: small modules, traced and exported, with fixed and with mutable sizes.

onnxruntime runs the unified graph, so that what is judged here is the importers alone.
"""
# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir
import pytest

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import magicmind  # noqa: E402
from magicmind.frontends.pytorch.script_source import named_leaves  # noqa: E402

Tensors = tuple[Any, ...]

MUTABLE = "1..8"
TOLERANCE = 2e-5


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


@dataclass(frozen=True)
class Case:
    """A function or module, and inputs: shapes of random floats, or tensors.

    mutable: its first axis may vary; `export_fixed`: but torch.export fixes it. ways: traced, exported.
    """

    name: str
    function: Callable[..., Any]
    inputs: Tensors = ((3, 4),)
    mutable: bool = True
    ways: tuple[str, ...] = ("traced", "exported")
    export_fixed: bool = False

    def module(self) -> Any:
        torch.manual_seed(0)
        made = self.function if isinstance(self.function, nn.Module) else Call(self.function)
        return made.eval()

    def examples(self, batch: int | None = None) -> Tensors:
        """The inputs; `batch` in place of the first axis."""
        torch.manual_seed(1)
        return tuple(_tensor(i, batch) for i in self.inputs)


def _tensor(given: Any, batch: int | None) -> Any:
    if isinstance(given, tuple):
        return torch.randn(given if batch is None or not given else (batch, *given[1:]))
    if batch is None or given.ndim == 0:
        return given
    repeats = -(-batch // given.shape[0])
    return given.repeat(repeats, *[1] * (given.ndim - 1))[:batch]


def ints(*shape: int, high: int = 5) -> Any:
    return torch.arange(int(np.prod(shape))).reshape(shape) * 7 % high


def run(graph: Any, feeds: dict[str, Any]) -> list[Any]:
    """What onnxruntime says."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    data = onnx_ir.to_proto(graph.model).SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, {name: np.asarray(v) for name, v in feeds.items()})
    return found


def check(graph: Any, expected: Any, examples: Tensors) -> None:
    """Compares names, types and elements of outputs with PyTorch's."""
    leaves = named_leaves(expected)
    names = [i.name for i in graph.inputs]
    feeds = {name: x.numpy() for name, x in zip(names, examples, strict=True)}
    found = run(graph, feeds)
    assert [o.name for o in graph.outputs] == list(leaves)
    for y, (name, x) in zip(found, leaves.items(), strict=True):
        wanted = np.asarray(x.detach().numpy() if isinstance(x, torch.Tensor) else x)
        assert y.shape == wanted.shape, name
        if isinstance(x, torch.Tensor):
            assert y.dtype == wanted.dtype, name
        scale = max(float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)), 1e-3) if wanted.size else 1.0
        np.testing.assert_allclose(y, wanted, rtol=0, atol=TOLERANCE * scale)


def shapes_of(examples: Tensors, mutable: bool) -> list[Any]:
    return [(f"n={MUTABLE}", *x.shape[1:]) if mutable and x.ndim else tuple(x.shape) for x in examples]


def graph_of(case: Case, way: str, mutable: bool) -> Any:
    module, examples = case.module(), case.examples(5 if mutable else None)
    if way == "traced":
        dtypes = [str(x.dtype).removeprefix("torch.") for x in examples]
        shapes = shapes_of(examples, mutable)
        return magicmind.parse(module, input_shapes=shapes, input_dtypes=dtypes, example_inputs=examples)
    n = torch.export.Dim("n", min=1, max=8)
    dynamic = tuple({0: n} if x.ndim else None for x in examples) if mutable else None
    spec = {"args": dynamic} if isinstance(module, Call) else dynamic
    return magicmind.parse(torch.export.export(module, examples, dynamic_shapes=spec if mutable else None))


def judge(case: Case, way: str, mutable: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = graph_of(case, way, mutable)
        for batch in (3, 1, 8) if mutable else (None,):
            examples = case.examples(batch)
            with torch.no_grad():
                check(graph, case.module()(*examples), examples)


def _of(inner: Callable[..., Any], name: str) -> Callable[..., Any]:
    """torch's function of this name, of what `inner` makes."""
    return lambda x: getattr(torch, name)(inner(x))


X = (3, 4)
IMAGE = (2, 3, 8, 9)
FLAGS = torch.tensor([[True, False, True, False], [False, False, True, True], [True, True, True, True]])

POINTWISE = [
    *(Case(name, getattr(torch, name)) for name in (
        "abs", "sign", "round", "isnan", "isinf", "exp", "sin", "cos", "tan", "atan", "sinh", "cosh", "asinh", "erf",
        "tanh", "sigmoid", "relu", "reciprocal", "expm1", "exp2", "trunc", "square", "nan_to_num", "floor", "ceil",
        "neg", "isfinite", "frac", "sgn", "erfc", "sinc", "selu", "celu", "positive", "logical_not", "deg2rad",
        "absolute", "arctan", "isposinf", "signbit",
    )),
    *(Case(name, _of(lambda x: x.abs() + 0.1, name)) for name in (
        "log", "sqrt", "rsqrt", "log2", "log10", "log1p"
    )),
    *(Case(name, _of(torch.tanh, name)) for name in ("asin", "acos", "atanh", "logit")),
    Case("acosh", lambda x: torch.acosh(x.abs() + 1.5)),
    *(Case(name, getattr(torch, name), (X, X)) for name in (
        "add", "sub", "mul", "div", "maximum", "minimum", "fmax", "fmin", "atan2", "floor_divide", "remainder", "fmod",
        "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "hypot", "logaddexp",
        "logaddexp2", "copysign", "less", "greater_equal", "xlogy", "nextafter",
    ) if name not in ("xlogy", "nextafter")),
    Case("add alpha", lambda x, y: torch.add(x, y, alpha=0.5), (X, X)),
    Case("sub of int", lambda x, y: x - 2 * y, (ints(3, 4), ints(3, 4, high=3))),
    Case("rsub", lambda x: 1.5 - x),
    Case("int and float", lambda x, y: x * y + 1, (ints(3, 4), X)),
    Case("int division", lambda x: (x / 2, x // 2, x % 3, -x // 2), (ints(3, 4),)),
    Case("rounded division", lambda x, y: (torch.div(x, y, rounding_mode="floor"), torch.div(x, y, rounding_mode="trunc")), (X, X)),
    Case("pow", lambda x: (x**2, x**3, x.abs() ** 0.5, 2.0**x)),
    Case("clamp", lambda x: (x.clamp(-0.5, 0.5), x.clamp_min(0), x.clamp_max(0.1), torch.clip(x, max=1))),
    Case("clamp by tensors", lambda x, y: torch.clamp(x, y, y + 1), (X, X)),
    Case("addcmul", lambda x, y: (torch.addcmul(x, y, y, value=0.5), torch.addcdiv(x, y, y.abs() + 1)), (X, X)),
    Case("lerp", lambda x, y: torch.lerp(x, y, 0.3), (X, X)),
    Case("bits", lambda x, y: (x & y, x | y, x ^ y, ~x), (ints(3, 4), ints(3, 4, high=3))),
    Case("bits of flags", lambda x, y: (x & y, x | y, ~x, x ^ y, x + y, x * y), (FLAGS, ~FLAGS[:, [1, 0, 2, 3]])),
    Case("where", lambda x, y: (torch.where(x > 0, x, y), torch.where(x > 0, x, 0.0)), (X, X)),
    Case("masked fill", lambda x: x.masked_fill(x > 0, -1.0)),
    Case("casts", lambda x: (x.long(), x.int(), x.double(), x.bool(), x.half().float(), x.to(torch.int32))),
    Case("cast like", lambda x, y: (x.type_as(y), x.to(y)), (X, ints(3, 4))),
    Case("isclose", lambda x: torch.isclose(x, x + 1e-9)),
    Case("heaviside", lambda x: torch.heaviside(x, torch.tensor(0.5))),
]  # fmt: skip

ACTIVATION = [
    *(Case(f.__name__, f) for f in (
        F.relu6, F.hardtanh, F.gelu, F.silu, F.hardsigmoid, F.hardswish, F.leaky_relu, F.elu, F.celu, F.selu, F.mish,
        F.softplus, F.softsign, F.logsigmoid, F.hardshrink, F.softshrink, F.tanhshrink, F.rrelu,
    )),
    Case("gelu tanh", lambda x: F.gelu(x, approximate="tanh")),
    Case("softplus beta", lambda x: F.softplus(x * 20, beta=2, threshold=10)),
    Case("threshold", lambda x: F.threshold(x, 0.2, -3.0)),
    Case("glu", lambda x: F.glu(x, dim=1)),
    Case("softmax", lambda x: (F.softmax(x, -1), F.log_softmax(x, 1), F.softmin(x, 1))),
    Case("softmax double", lambda x: F.softmax(x, -1, dtype=torch.float64)),
    Case("prelu", nn.PReLU(4), ((2, 4, 5),)),
    Case("dropout", nn.Dropout(0.5)),
    Case("normalize", lambda x: F.normalize(x, dim=1)),
    Case("cosine similarity", lambda x, y: F.cosine_similarity(x, y, dim=1), (X, X)),
    Case("inplace", lambda x: F.relu_(x * 2).add_(1).mul_(3).clamp_(max=5)),
]  # fmt: skip

LAYERS = [
    Case("conv1d", nn.Conv1d(3, 4, 3, padding=1, stride=2), ((2, 3, 9),)),
    Case("conv2d", nn.Conv2d(3, 6, 3, padding=(1, 2), dilation=2, groups=3), (IMAGE,)),
    Case("conv3d", nn.Conv3d(2, 3, 2), ((2, 2, 4, 4, 4),)),
    Case("conv same", nn.Conv2d(3, 4, (3, 4), padding="same"), (IMAGE,)),
    Case("conv circular", nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (IMAGE,)),
    Case("conv unbatched", nn.Conv2d(3, 4, 3), ((3, 8, 8),), mutable=False),
    Case("transposed", nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (IMAGE,)),
    Case("transposed1d", nn.ConvTranspose1d(4, 2, 4, stride=2, groups=2), ((2, 4, 5),)),
    Case("linear", nn.Linear(4, 5)),
    Case("bilinear", nn.Bilinear(4, 3, 2), (X, (3, 3)), mutable=False),
    Case("batchnorm", nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)), (IMAGE,)),
    Case("batchnorm1d", nn.BatchNorm1d(4)),
    Case("layernorm", nn.Sequential(nn.LayerNorm(4), nn.LayerNorm((4,), elementwise_affine=False))),
    Case("rmsnorm", nn.RMSNorm(4)),
    Case("groupnorm", nn.GroupNorm(2, 4), ((2, 4, 5, 5),)),
    Case("instancenorm", nn.InstanceNorm2d(3, affine=True), (IMAGE,)),
    Case("instancenorm tracked", nn.InstanceNorm2d(3, track_running_stats=True), (IMAGE,)),
    Case("lrn", nn.LocalResponseNorm(3), (IMAGE,)),
    Case("maxpool", nn.MaxPool2d(3, 2, 1, ceil_mode=True), (IMAGE,)),
    Case("maxpool1d", nn.MaxPool1d(2, dilation=2), ((2, 3, 9),)),
    Case("maxpool positions", nn.MaxPool2d(2, return_indices=True), (IMAGE,)),
    Case("avgpool", nn.AvgPool2d(3, 2, 1, count_include_pad=False), (IMAGE,)),
    Case("avgpool divisor", nn.AvgPool2d(2, divisor_override=3), (IMAGE,)),
    Case("avgpool3d", nn.AvgPool3d(2), ((2, 2, 4, 4, 4),)),
    Case("adaptive", nn.AdaptiveAvgPool2d((3, 2)), (IMAGE,)),
    Case("adaptive one", nn.AdaptiveAvgPool2d(1), (IMAGE,)),
    Case("adaptive max", nn.AdaptiveMaxPool2d((4, 3)), (IMAGE,)),
    Case("lp pool", nn.LPPool2d(2, 2), (IMAGE,)),
    Case(
        "unpool",
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2, 2], output_size=(8, 8)),
        ((2, 3, 8, 8),),
        mutable=False,
    ),
    Case("embedding", nn.Embedding(5, 3), (ints(3, 4),)),
    Case("one hot", lambda x: F.one_hot(x, 5), (ints(3, 4),)),
    Case("lstm", nn.LSTM(4, 5, 2, bidirectional=True, batch_first=True), ((2, 3, 4),)),
    Case("gru", nn.GRU(4, 5, batch_first=True), ((2, 3, 4),)),
    Case("rnn", nn.RNN(4, 5, nonlinearity="relu"), ((2, 3, 4),), export_fixed=True),
    Case("lstm cell", nn.LSTMCell(4, 5), (X,)),
    Case("gru cell", nn.GRUCell(4, 5), (X,)),
    Case("rnn cell", nn.RNNCell(4, 5), (X,)),
    Case("transformer layer", nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), ((2, 5, 8),)),
    Case("attention", nn.MultiheadAttention(8, 2, batch_first=True), ((2, 5, 8), (2, 6, 8), (2, 6, 8))),
    Case("pixel shuffle", lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 4), ((2, 8, 4, 4),)),
    Case("channel shuffle", lambda x: F.channel_shuffle(x, 2), ((2, 4, 3, 3),)),
    Case("weight norm", nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))),
]

LINEAR = [
    Case("matmul", lambda x, y: (x @ y, torch.bmm(x, y)), ((2, 3, 4), (2, 4, 5))),
    Case("mm", lambda x: (x @ x.t(), torch.mv(x, x[0]), torch.outer(x[0], x[1])), mutable=False),
    Case("addmm", lambda x, y: (torch.addmm(x, x, y, beta=0.5, alpha=2), torch.mm(x, y)), ((4, 4), (4, 4)), mutable=False),
    Case("baddbmm", lambda x: torch.baddbmm(x, x, x, beta=0), ((2, 3, 3),)),
    Case("einsum", lambda x, y: torch.einsum("bij, bjk -> bik", x, y), ((2, 3, 4), (2, 4, 5))),
    Case("attention function", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), ((2, 2, 5, 4),) * 3),
    Case("attention mask", lambda q: F.scaled_dot_product_attention(q, q, q, torch.ones(5, 5).tril().bool(), scale=0.3), ((2, 2, 5, 4),)),
    Case("attention of queries without keys", lambda q, m: F.scaled_dot_product_attention(q, q, q, m > 0), ((2, 2, 5, 4), (2, 1, 5, 1))),
    Case("attention, nothing added but -inf", lambda q, m: F.scaled_dot_product_attention(q, q, q, (m > 0).float().log()), ((2, 2, 5, 4), (2, 1, 5, 1))),
    Case("grouped attention", lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True), ((2, 4, 5, 4), (2, 2, 5, 4))),
    Case("kron", torch.kron, ((2, 2), (2, 3)), mutable=False),
    Case("tensordot", lambda x, y: torch.tensordot(x, y, dims=1), ((3, 4), (4, 5)), mutable=False),
    Case("cross", lambda x, y: torch.linalg.cross(x, y), ((4, 3), (4, 3))),
    Case("cdist", lambda x, y: (torch.cdist(x, y), torch.cdist(x, y, p=1.0), torch.cdist(x, y, p=3.0)), ((2, 3, 4), (2, 5, 4))),
    Case("det", torch.det, ((3, 3),), mutable=False),
]  # fmt: skip

REDUCTION = [
    Case("sum", lambda x: (x.sum(), x.sum(1), x.sum((0, 1), keepdim=True))),
    Case("sum of int", lambda x: (x.sum(), (x > 2).sum(1), x.float().mean(0)), (ints(3, 4),)),
    Case("mean", lambda x: (x.mean(), x.mean(-1, keepdim=True), x.mean(dtype=torch.float64))),
    Case("prod", lambda x: (x.prod(), x.prod(1))),
    Case("amax", lambda x: (x.amax(1), x.amin((0, 1)), torch.aminmax(x, dim=1))),
    Case("max", lambda x: (x.max(), x.max(1), x.min(1, keepdim=True), torch.max(x, x * 2))),
    Case("argmax", lambda x: (x.argmax(), x.argmax(1), x.argmin(1, keepdim=True))),
    Case("any", lambda x: ((x > 0).any(), (x > 0).all(1), (x > 0).any(1, keepdim=True))),
    Case("logsumexp", lambda x: torch.logsumexp(x, 1)),
    Case("var", lambda x: (x.var(1), x.std(1, unbiased=False), torch.var_mean(x, 1), x.var(1, correction=0))),
    Case("norm", lambda x: (x.norm(), x.norm(1, 1), x.norm(dim=1, keepdim=True), torch.linalg.vector_norm(x, 3, 1))),
    Case("infinite norm", lambda x: torch.linalg.vector_norm(x, float("inf"), 1)),
    Case("cumsum", lambda x: (x.cumsum(1), x.long().cumsum(0))),
    Case("cumprod", lambda x: (x.cumprod(1), x.cummax(1), x.cummin(1), x.logcumsumexp(1))),
    Case("topk", lambda x: (*x.topk(2), *x.topk(2, 1, largest=False))),
    Case("sort", lambda x: (*x.sort(1, descending=True), x.argsort(1), torch.msort(x.t()))),
    Case("median", lambda x: (x.median(), *x.median(1), *x.kthvalue(2, 1))),
    Case("count nonzero", lambda x: torch.count_nonzero(x > 0, 1)),
    Case("nansum", lambda x: torch.nansum(torch.where(x > 0, x, float("nan")), 1)),
    Case("dist", lambda x, y: (torch.dist(x, y), F.pairwise_distance(x, y)), (X, X)),
    Case("losses", lambda x, y: (F.mse_loss(x, y), F.l1_loss(x, y), F.smooth_l1_loss(x, y)), (X, X)),
    Case("histc", lambda x: torch.histc(x, 5, -1.0, 1.0)),
    Case("quantile free", lambda x: x.diff(dim=1)),
    Case("trace", torch.trace, ((4, 4),), mutable=False),
]

SHAPE = [
    Case("view", lambda x: (x.view(-1), x.reshape(x.shape[0], 2, 2), x.view(x.size(0), -1), x.view_as(x * 2))),
    Case("flatten", lambda x: (x.flatten(1), x.flatten(), x.unflatten(1, (3, -1)), x.ravel()), ((2, 3, 4),)),
    Case("squeeze", lambda x: (x.unsqueeze(0).squeeze(0), x[:, :1].squeeze(1), x.unsqueeze(-1)), ((3, 4),)),
    Case("expand", lambda x: (x.unsqueeze(1).expand(-1, 3, -1), x[:, :1].expand_as(x)), ((3, 4),)),
    Case("repeat", lambda x: (x.repeat(2, 1, 2), torch.tile(x, (2,)), x.repeat_interleave(2, 1))),
    Case("repeat each", lambda x: x.repeat_interleave((x[:, 0] > 0).long() + 1, 0)),
    Case("repeat each of axis", lambda x: x.repeat_interleave(torch.tensor([2, 0, 1, 3]), 1)),
    Case("repeat by size", lambda x: x.repeat_interleave(torch.tensor(x.shape[0]), dim=1)),
    Case("permute", lambda x: (x.permute(2, 0, 1), x.transpose(1, 2), x.movedim(0, -1), x.mT), ((2, 3, 4),)),
    Case("flip", lambda x: (x.flip(0), x.flip((0, 1)), torch.fliplr(x), torch.rot90(x))),
    Case("roll", lambda x: (x.roll(1, 0), x.roll((1, 2), (0, 1)), x.roll(3))),
    Case("cat", lambda x, y: (torch.cat([x, y], 1), torch.stack([x, y]), torch.hstack([x, y]), torch.vstack([x, y])), (X, X)),
    Case("cat types", lambda x: torch.cat([x, x.long()], 1)),
    Case("split", lambda x: (*x.split(3, 1), *x.chunk(2, 1), *x.split([1, 3], 1), *x.unbind(1), *x.tensor_split(3, 1))),
    Case("narrow", lambda x: x.narrow(1, 1, 2)),
    Case("pad", lambda x: (F.pad(x, (1, 2)), F.pad(x, (1, 0, 0, 2), value=3.0), F.pad(x, (-1, 1)))),
    Case("pad modes", lambda x: (F.pad(x, (1, 2, 1, 0), "reflect"), F.pad(x, (1, 1), "replicate"), F.pad(x, (2, 1, 1, 2), "circular")), ((2, 3, 4),), mutable=False),
    Case("pad image", lambda x: (F.pad(x, (1, 2, 1, 0), "reflect"), F.pad(x, (1, 1, 2, 2), "replicate"), F.pad(x, (2, 1, 1, 2), "circular")), (IMAGE,)),
    Case("creation", lambda x: (torch.zeros(x.shape[0], 2), torch.ones_like(x), torch.full((x.shape[0],), 2.5), x.new_zeros(3), x.new_full((2,), 7.0), torch.full_like(x, 3), torch.empty_like(x).fill_(1), torch.zeros_like(x, dtype=torch.int64), x.new_ones(2))),
    Case("arange", lambda x: (torch.arange(x.shape[0]), torch.arange(1, x.shape[0] + 3, 2), torch.arange(x.shape[0]) * 0.5, torch.linspace(0, 1, 5) + x[0, 0])),
    Case("eye", lambda x: (torch.eye(4) + x[:, :1].sum(), x.triu(), x.tril(1)), mutable=False),
    Case("meshgrid", lambda x: torch.meshgrid(x[:, 0], x[0], indexing="ij")),
    Case("meshgrid xy", lambda x: torch.meshgrid(x[:, 0], x[0], indexing="xy")),
    Case("broadcast", lambda x: torch.broadcast_tensors(x, x[:1]), mutable=False),
    Case("unfold windows", lambda x: x.unfold(1, 3, 2), ((2, 9, 2),)),
    Case("unfold", lambda x: F.unfold(x, (2, 3), padding=1, stride=2), (IMAGE,)),
    Case("fold", lambda x: F.fold(x, (4, 5), (2, 2)), ((2, 8, 12),)),
    Case("diagonal", lambda x: (x.diagonal(), x.diagonal(1, 0, 1), torch.diag_embed(x[:, 0])), ((3, 4),), mutable=False),
    Case("as strided", lambda x: x.as_strided((2, 3), (4, 1), 1), mutable=False),
    Case("atleast", lambda x: (torch.atleast_3d(x), torch.column_stack([x, x]))),
    Case("size arithmetic", lambda x: x.reshape(x.shape[0] * 2, x.shape[1] // 2) * x.numel()),
]  # fmt: skip

INDEXING = [
    Case("slice", lambda x: (x[1:, ::2], x[:, -1], x[..., 1:3], x[:, None]), export_fixed=True),
    Case("select", lambda x: (x.select(1, 2), x.index_select(1, torch.tensor([2, 0])), x[:, [1, 3]])),
    Case("gather", lambda x, i: (x.gather(1, i), torch.take_along_dim(x, i, 1), torch.take(x, i)), (X, ints(3, 2, high=3)), export_fixed=True),
    Case("index", lambda x: (x[torch.tensor([0, 0])], x[torch.tensor([[0], [0]]), torch.tensor([1, 2])], x[:, torch.tensor([0, 1])])),
    Case("index middle", lambda x: x[:, torch.tensor([0, 1]), torch.tensor([1, 2])], ((2, 3, 4, 5),)),
    Case("mask", lambda x: (x[x > 0], torch.masked_select(x, x > 0), torch.nonzero(x > 0)), ways=("traced",)),
    Case("where positions", lambda x: torch.where(x > 0), ways=("traced",)),
    Case("index put", lambda x: x.index_put((torch.tensor([0]), torch.tensor([1])), torch.tensor(5.0))),
    Case("index put add", lambda x: x.index_put((torch.tensor([0, 0]),), torch.ones(2, 4), accumulate=True)),
    Case("scatter", lambda x, i: (x.scatter(1, i, 2.0), x.scatter_add(1, i, i.float()), x.scatter(1, i, x)), (X, ints(3, 2, high=3))),
    Case("scatter of what only data tells", lambda x: x.scatter(0, torch.where(x > 0)[0], x[torch.where(x > 0)[0]] * 2), (torch.tensor([1.0, -2.0, 3.0, 4.0]),), mutable=False, ways=("traced",)),
    Case("shape as tensor", lambda x: x.sum(0) * torch._shape_as_tensor(x)[1], ways=("traced",)),
    Case("scatter reduce", lambda x, i: x.scatter_reduce(1, i, x, "amax"), (X, ints(3, 2, high=3))),
    Case("index add", lambda x: (x.index_add(1, torch.tensor([0, 2]), x[:, :2], alpha=2), x.index_fill(1, torch.tensor([1]), 9.0), x.index_copy(1, torch.tensor([3]), x[:, :1]))),
    Case("select scatter", lambda x: (torch.select_scatter(x, x[:, 0] * 2, 1, 2), torch.slice_scatter(x, x[:, :2], 1, 2))),
    Case("masked scatter", lambda x, y: x.masked_scatter(x > 0, y), (X, X)),
    Case("search", lambda x: (torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0])), torch.searchsorted(torch.tensor([-1.0, 0.0]), x, right=True))),
    Case("isin", lambda x: torch.isin(x, torch.tensor([1, 3])), (ints(3, 4),)),
    Case("unique", lambda x: torch.unique(x), (ints(3, 4),), ways=("traced",), mutable=False),
]  # fmt: skip


def _written(x: Any) -> Any:
    y = x.clone()
    y[:, 1:3] = 0
    y[:, 0] += 5
    y[..., -1].mul_(2)
    y[1:, ::2] = y[1:, 1::2]
    return y


def _view_written(x: Any) -> Any:
    y = x * 1
    row = y[:, 1]
    row.add_(10)
    row.fill_(3)
    return y, row


def _masked_write(x: Any) -> Any:
    y = x.clone()
    y[y > 0] = 7
    y[:, 0].zero_()
    return y


WRITES = [
    Case("slices are written", _written, mutable=False),
    Case("views are written", _view_written),
    Case("masks are written", _masked_write),
    Case("copy", lambda x: torch.zeros(3, 4).copy_(x), mutable=False),
]

RESIZE = [
    *(Case(f"{mode} {corners}", lambda x, m=mode, a=corners: F.interpolate(x, (5, 13), mode=m, align_corners=a), (IMAGE,))
      for mode in ("bilinear", "bicubic") for corners in (False, True)),
    Case("nearest", lambda x: (F.interpolate(x, scale_factor=2), F.interpolate(x, (5, 13)), F.interpolate(x, (5, 13), mode="nearest-exact")), (IMAGE,)),
    Case("scale", lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"), (IMAGE,)),
    Case("recomputed scale", lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear", recompute_scale_factor=True), (IMAGE,)),
    Case("linear", lambda x: F.interpolate(x, 13, mode="linear"), ((2, 3, 8),)),
    Case("trilinear", lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), ((2, 2, 3, 4, 5),)),
    Case("area", lambda x: F.interpolate(x, (4, 3), mode="area"), (IMAGE,)),
    Case("grid", lambda x, g: (F.grid_sample(x, torch.tanh(g), align_corners=False), F.grid_sample(x, g, "nearest", "border", True)), (IMAGE, (2, 4, 5, 2))),
    Case("affine grid", lambda x: F.affine_grid(x, [2, 3, 4, 5], align_corners=False), ((2, 2, 3),), mutable=False),
]  # fmt: skip

WINDOW = torch.hann_window(16)
SPECTRAL = [
    Case("stft", lambda x: torch.view_as_real(torch.stft(x, 16, 4, window=WINDOW, return_complex=True)), ((2, 64),)),
    Case("stft magnitude", lambda x: torch.stft(x, 16, 8, 12, window=torch.hann_window(12), center=False, return_complex=True).abs(), ((2, 64),)),
    Case("istft", lambda x: torch.istft(torch.view_as_complex(x), 16, 4, window=WINDOW), ((2, 9, 12, 2),)),
    Case("rfft", lambda x: (torch.fft.rfft(x).abs(), torch.fft.rfft(x, norm="ortho").real, torch.fft.rfft(x, n=6, dim=1).imag), ((2, 4, 9),)),
    Case("irfft", lambda x: torch.fft.irfft(torch.fft.rfft(x) * 2, n=9), ((2, 9),)),
    Case("fft2", lambda x: (torch.fft.fft2(x).abs(), torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho"), s=(4, 6), norm="ortho")), ((2, 4, 6),)),
    Case("fftn", lambda x: (torch.fft.fftn(x).real, torch.fft.ifftn(x, dim=(0, 1), norm="forward").abs(), torch.fft.fftn(x, s=(3, 4)).imag), ((2, 4, 6),), mutable=False),
    Case("fftn of a mutable size", lambda x: (torch.fft.fftn(x, dim=(0, 1)).real, torch.fft.fft(torch.complex(x, x * 2), dim=0).imag), ((3, 9, 10),)),
    Case("rope", lambda x: torch.view_as_real(torch.view_as_complex(x) * torch.polar(torch.ones(4), torch.arange(4.0))).flatten(1), ((3, 4, 2),)),
    Case("complex arithmetic", lambda x, y: torch.view_as_real((torch.complex(x, y) + 1) / torch.complex(y, x) - torch.complex(x, x).conj()), (X, X)),
]  # fmt: skip

ALL = [*POINTWISE, *ACTIVATION, *LAYERS, *LINEAR, *REDUCTION, *SHAPE, *INDEXING, *WRITES, *RESIZE, *SPECTRAL]


@pytest.mark.parametrize("case", ALL, ids=lambda c: c.name)
def test_traced(case: Case) -> None:
    judge(case, "traced", case.mutable)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in ALL if c.mutable], ids=lambda c: c.name)
def test_traced_with_fixed_sizes(case: Case) -> None:
    judge(case, "traced", False)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in ALL if "exported" in c.ways], ids=lambda c: c.name)
def test_exported(case: Case) -> None:
    judge(case, "exported", case.mutable and not case.export_fixed)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in ALL if "exported" in c.ways and c.mutable], ids=lambda c: c.name)
def test_exported_with_fixed_sizes(case: Case) -> None:
    judge(case, "exported", False)
