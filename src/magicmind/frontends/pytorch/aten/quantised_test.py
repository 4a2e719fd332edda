"""Networks that PyTorch's eager and FX modes have quantised, traced and scripted, against PyTorch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from onnx_ir import DataType

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

import torch.ao.quantization as tq  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.ao.nn import quantized as tnq  # noqa: E402
from torch.ao.quantization import quantize_fx  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import magicmind  # noqa: E402
from magicmind.errors import UnsupportedOperatorError  # noqa: E402
from magicmind.ir.types import dtype_of  # noqa: E402
from magicmind.passes.pipeline import simplify  # noqa: E402

SHAPE = (2, 3, 8, 8)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """PyTorch announces that these modes are old; the engine is put back."""
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield
    torch.backends.quantized.engine = before


class Block(nn.Module):
    """conv-bn-relu, depthwise, a residual sum, a concatenation, pools, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pool, self.linear = nn.MaxPool2d(2), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.relu(self.bn(self.conv(x)))
        x = torch.cat([self.depthwise(x) + x, x], 1)
        return self.linear(F.adaptive_avg_pool2d(self.pool(x), 1).flatten(1))


class Eager(Block):
    """The same with the marks of eager mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = tq.QuantStub(), tq.DeQuantStub()
        self.sum, self.joint = tnq.FloatFunctional(), tnq.FloatFunctional()

    def forward(self, x: Tensor) -> Any:
        x = self.relu(self.bn(self.conv(self.first(x))))
        x = self.joint.cat([self.sum.add(self.depthwise(x), x), x], 1)
        return self.last(self.linear(F.adaptive_avg_pool2d(self.pool(x), 1).flatten(1)))


def eager(engine: str, module: nn.Module, fused: Any = None, shape: Any = SHAPE) -> nn.Module:
    """Calibrated and converted; x86 and fbgemm have a scale per channel (fbgemm 7 bits), qnnpack one per tensor."""
    torch.backends.quantized.engine = engine
    module = module.eval()
    made = tq.fuse_modules(module, fused) if fused else module  # type: ignore[no-untyped-call]
    made.qconfig = tq.get_default_qconfig(engine)  # type: ignore[no-untyped-call]
    tq.prepare(made, inplace=True)  # type: ignore[no-untyped-call]
    made(torch.randn(shape))
    return tq.convert(made)  # type: ignore[no-any-return, no-untyped-call]


def fx(engine: str) -> nn.Module:
    torch.backends.quantized.engine = engine
    settings = tq.get_default_qconfig_mapping(engine)
    prepared = quantize_fx.prepare_fx(Block().eval(), settings, torch.randn(SHAPE))
    prepared(torch.randn(SHAPE))
    return quantize_fx.convert_fx(prepared)  # type: ignore[no-any-return]


def run(program: Any, x: Tensor) -> Any:
    graph = magicmind.parse(program, input_shapes=[tuple(x.shape)])
    (found,) = magicmind.build(graph).session(threads=1).run({graph.inputs[0].name: x.numpy()}).values()
    return found


def integer_products(program: Any, shape: Any = SHAPE) -> list[str]:
    """The products of whole numbers that the passes make."""
    model = magicmind.parse(program, input_shapes=[shape]).model
    simplify(model)
    products = [n for n in model.graph if n.op_type in ("Conv", "MatMul")]
    kinds = [x and dtype_of(x) for x in (n.inputs[0] for n in products)]
    return [n.op_type for n, kind in zip(products, kinds, strict=True) if kind in (DataType.UINT8, DataType.INT8)]


def check(found: Any, wanted: Tensor, step: float, equal: float = 0.8) -> None:
    """Within one step, most elements equal."""
    steps = np.abs(found - wanted.detach().numpy()) / step
    assert steps.max() < 1.01, steps.max()
    assert (steps < 0.01).mean() >= equal, (steps < 0.01).mean()


def way(name: str, module: nn.Module, x: Tensor) -> Any:
    return torch.jit.script(module) if name == "scripted" else torch.jit.trace(module, x)


@pytest.mark.parametrize("engine, how", [("x86", "scripted"), ("fbgemm", "traced"), ("qnnpack", "traced")])
def test_eager_mode(engine: str, how: str) -> None:
    module = eager(engine, Eager(), [["conv", "bn", "relu"]])
    x = torch.randn(SHAPE)
    program = way(how, module, x)
    assert integer_products(program) == ["Conv", "Conv", "MatMul"]
    check(run(program, x), module(x), float(module.linear.scale))  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("engine", ["x86", "fbgemm"])
def test_fx_mode(engine: str) -> None:
    module = fx(engine)
    x = torch.randn(SHAPE)
    program = torch.jit.trace(module, x)
    assert integer_products(program) == ["Conv", "Conv", "MatMul"]
    check(run(program, x), module(x), float(module.linear.scale))  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
def test_dynamic_linear(dtype: Any) -> None:
    torch.backends.quantized.engine = "fbgemm"
    plain = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    module = tq.quantize_dynamic(copy.deepcopy(plain), {nn.Linear}, dtype=dtype)  # type: ignore[no-untyped-call]
    x = torch.randn(4, 16)
    program = torch.jit.trace(module, x)
    kinds = [n.op_type for n in magicmind.parse(program, input_shapes=[(4, 16)]).model.graph]
    assert kinds.count("MatMulInteger") == (2 if dtype == torch.qint8 else 0)
    np.testing.assert_allclose(run(program, x), module(x).detach().numpy(), rtol=0, atol=2e-3)


class Wrapped(nn.Module):
    """A function between two marks."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.first, self.last, self.function = tq.QuantStub(), tq.DeQuantStub(), function
        self.inner = nn.ModuleDict(modules)

    def forward(self, x: Tensor) -> Any:
        x = self.first(x)
        if not (x.is_quantized or len(self.inner)):  # while it is calibrated
            return self.last(x)
        return self.last(self.function(x, self.inner))


ops = torch.ops.quantized
CASES: dict[str, tuple[Callable[..., Any], dict[str, nn.Module], Any]] = {
    "relu6": (lambda x, m: F.relu6(x), {}, SHAPE),
    "relu in place": (lambda x, m: F.relu(x, inplace=True), {}, SHAPE),
    "hardswish": (lambda x, m: ops.hardswish(x, 0.02, 20), {}, SHAPE),
    "leaky_relu": (lambda x, m: ops.leaky_relu(x, 0.1, False, 0.02, 20), {}, SHAPE),
    "sigmoid": (lambda x, m: torch.sigmoid(x), {}, SHAPE),
    "tanh": (lambda x, m: torch.tanh(x), {}, SHAPE),
    "quantized sigmoid": (lambda x, m: ops.sigmoid(x, 1 / 256, 0), {}, SHAPE),
    "elu": (lambda x, m: ops.elu(x, 0.02, 60, 1.0), {}, SHAPE),
    "avg_pool": (lambda x, m: F.avg_pool2d(x, 2), {}, SHAPE),
    "mean": (lambda x, m: x.mean([2, 3]), {}, SHAPE),
    "nearest": (lambda x, m: F.interpolate(x, scale_factor=2.0, mode="nearest"), {}, SHAPE),
    "bilinear": (lambda x, m: F.interpolate(x, size=(16, 16), mode="bilinear", align_corners=False), {}, SHAPE),
    "moves": (lambda x, m: x.permute(0, 2, 3, 1).reshape(2, 64, 3)[:, ::2].transpose(1, 2).contiguous(), {}, SHAPE),
    "chunks": (lambda x, m: torch.cat([p for p in torch.chunk(x, 2, 2)][::-1], 1), {}, SHAPE),
    "mul": (lambda x, m: ops.mul(x, x, 0.05, 0), {}, SHAPE),
    "add_relu": (lambda x, m: ops.add_relu(x, x, 0.04, 0), {}, SHAPE),
    "scalars": (lambda x, m: ops.mul_scalar(ops.add_scalar(x, 0.7), -1.5), {}, SHAPE),
    "matmul": (lambda x, m: ops.matmul(x, x, 0.1, 128), {}, SHAPE),
    "softmax": (lambda x, m: ops.softmax(x, 1, 1 / 256, 0), {}, SHAPE),
    "int_repr": (lambda x, m: torch.quantize_per_tensor(x.int_repr() * x.q_scale(), 0.05, 9, torch.quint8), {}, SHAPE),
    "conv1d": (lambda x, m: m["a"](x), {"a": nn.Conv1d(3, 4, 3, stride=2, padding=1, dilation=2)}, (2, 3, 9)),
    "conv_transpose2d": (lambda x, m: m["a"](x), {"a": nn.ConvTranspose2d(3, 4, 3, 2, 1, 1)}, SHAPE),
    "bn": (lambda x, m: m["a"](x), {"a": nn.BatchNorm2d(3)}, SHAPE),
    "layer_norm": (lambda x, m: m["a"](x), {"a": nn.LayerNorm(8)}, SHAPE),
    "conv_transpose1d": (lambda x, m: m["a"](x), {"a": nn.ConvTranspose1d(3, 4, 3, 2, 1)}, (2, 3, 9)),
    "group_norm": (lambda x, m: m["a"](x), {"a": nn.GroupNorm(2, 4)}, (2, 4, 6, 6)),
    "celu": (lambda x, m: ops.celu(x, 0.02, 60, 1.5), {}, SHAPE),
    "clamp": (lambda x, m: torch.clamp(x, -0.5, 0.7), {}, SHAPE),
    "threshold": (lambda x, m: F.threshold(x, 0.1, 0.0), {}, SHAPE),
    "max_pool1d": (lambda x, m: F.max_pool1d(x, 2), {}, (2, 3, 9)),
}


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str) -> None:
    function, modules, shape = CASES[name]
    module = eager("qnnpack", Wrapped(function, **modules), shape=shape)
    x = torch.randn(shape)
    kept: list[Any] = []
    module.last.register_forward_pre_hook(lambda m, given: kept.append(given[0]))  # type: ignore[union-attr, operator]
    wanted = module(x)
    found = run(torch.jit.trace(module, x), x)
    assert found.shape == tuple(wanted.shape)
    check(found, wanted, kept[0].q_scale(), equal=0.9)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5)

    def forward(self, x: Tensor) -> Any:
        return self.lstm(x)[0]


def test_what_is_left_is_told() -> None:
    torch.backends.quantized.engine = "fbgemm"
    x = torch.randn(3, 1, 4)
    lstm = tq.quantize_dynamic(Recurrent().eval(), {nn.LSTM}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    with pytest.raises(UnsupportedOperatorError, match="quantized_lstm"):
        magicmind.parse(torch.jit.trace(lstm, x), input_shapes=[(3, 1, 4)])
    odd = eager("fbgemm", Wrapped(lambda x, m: x.sort(1)[0]))
    with pytest.raises(UnsupportedOperatorError, match="aten::sort of quantised tensors"):
        magicmind.parse(torch.jit.trace(odd, torch.randn(SHAPE)), input_shapes=[SHAPE])


class Bare(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.quantize_per_tensor(x, 0.1, 3, torch.quint8)


def test_quantised_outputs_are_told() -> None:
    with pytest.raises(UnsupportedOperatorError, match="a quantised tensor where a float one is wanted"):
        magicmind.parse(torch.jit.script(Bare()), input_shapes=[(2, 3)])
