"""Exported programs with the operators of PyTorch's own quantisation, against PyTorch and in whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import magicmind  # noqa: E402
import magicmind.frontends.pytorch.reader  # noqa: E402  (the operators are defined then)
from magicmind.errors import UnsupportedOperatorError  # noqa: E402
from magicmind.passes.pipeline import simplify  # noqa: E402

Q = torch.ops.quantized_decomposed
STEP = 0.02


def both(x: Tensor, scale: float, zero: int, low: int = -128, high: int = 127, dtype: Any = torch.int8) -> Any:
    """Quantised and dequantised, by the spelling whose arguments are numbers."""
    q = Q.quantize_per_tensor(x, scale, zero, low, high, dtype)
    return Q.dequantize_per_tensor(q, scale, zero, low, high, dtype)


class Network(nn.Module):
    """A convolution, a depthwise one and a linear layer; `spelling` of their data, `channels`: weights' scales."""

    def __init__(self, spelling: str, channels: bool, high: int = 127) -> None:
        super().__init__()
        self.spelling, self.channels, self.high = spelling, channels, high
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(s)) for s in ((8, 3, 3, 3), (8, 1, 3, 3), (5, 8))])
        self.bias = nn.Parameter(torch.randn(8))
        for name, value in (("scale", torch.tensor([0.04])), ("zero", torch.tensor([3]))):
            self.register_buffer(name, value)
        self.register_buffer("edges", torch.tensor([-128, 127]))
        self.register_buffer("scales", torch.rand(8) * 0.02 + 0.01)
        self.register_buffer("zeros", torch.zeros(8, dtype=torch.int64))

    def weight(self, i: int) -> Any:
        """Quantised when it runs, as a training-aware network has it."""
        w, high = self.weights[i], self.high
        if not self.channels:
            return both(w, 0.03, 0, -high, high)
        scales, zeros = (self.get_buffer(name)[: len(w)] for name in ("scales", "zeros"))
        q = Q.quantize_per_channel(w, scales, zeros, 0, -high, high, torch.int8)
        return Q.dequantize_per_channel(q, scales, zeros, 0, -high, high, torch.int8)

    def data(self, x: Tensor) -> Any:
        if self.spelling == "default":
            return both(x, 0.04, 131, 0, 255, torch.uint8)
        if self.spelling == "tensor":
            q = Q.quantize_per_tensor.tensor(x, self.scale, self.zero, -128, 127, torch.int8)
            return Q.dequantize_per_tensor.tensor(q, self.scale, self.zero, -128, 127, torch.int8)
        given = (self.scale, self.zero, *self.get_buffer("edges").unbind(), torch.int8)
        return Q.dequantize_per_tensor.tensor2(Q.quantize_per_tensor.tensor2(x, *given), *given)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(F.conv2d(self.data(x), self.weight(0), self.bias, padding=1))
        x = both(x, STEP, -128)
        x = both(F.conv2d(x, self.weight(1), groups=8) + x[:, :, 1:-1, 1:-1], STEP, 2)
        x = both(F.adaptive_avg_pool2d(x, 1), STEP, 2)
        return both(F.linear(x.flatten(1), self.weight(2)), STEP, 1, -100, 100)


def integer_products(graph: Any) -> list[str]:
    """The products of whole numbers that the passes make."""
    model = graph.model
    simplify(model)
    kinds = ("UINT8", "INT8")
    return [n.op_type for n in model.graph if n.op_type in ("Conv", "MatMul") and n.inputs[0].dtype.name in kinds]


def check(found: Any, wanted: Any, step: float) -> None:
    """Within one step, nearly all elements equal."""
    steps = np.abs(found - wanted.detach().numpy()) / step
    assert steps.max() < 1.01 and (steps > 0.5).mean() <= 0.05


def run(graph: Any, x: Tensor) -> Any:
    (found,) = magicmind.build(graph).session(threads=1).run({graph.inputs[0].name: x.numpy()}).values()
    return found


@pytest.mark.parametrize("spelling", ["default", "tensor", "tensor2"])
@pytest.mark.parametrize("channels, high", [(True, 127), (False, 63)])
def test_networks_become_products_of_whole_numbers(spelling: str, channels: bool, high: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    program = torch.export.export(Network(spelling, channels, high).eval(), (x,))
    torch.export.save(program, tmp_path / "quantised.pt2")
    assert integer_products(magicmind.parse(tmp_path / "quantised.pt2")) == ["Conv", "Conv", "MatMul"]
    check(run(magicmind.parse(program), x), program.module()(x), STEP)


class Dynamic(nn.Module):
    """Steps chosen for every input."""

    def forward(self, x: Tensor, low: int = -128, high: int = 127) -> Any:
        scale, zero = Q.choose_qparams.tensor(x, low, high, 1e-5, torch.int8)
        given = (scale, zero, low, high, torch.int8)
        return Q.dequantize_per_tensor.tensor(Q.quantize_per_tensor.tensor(x, *given), *given)


def test_steps_chosen_at_run_time() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 9)
    program = torch.export.export(Dynamic(), (x,))
    check(run(magicmind.parse(program), x), program.module()(x), float(x.max() - x.min()) / 255)


class ToWide(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return Q.quantize_per_tensor(x, 0.1, 0, -(2**31), 2**31 - 1, torch.int32)


def test_types_without_kernels_are_told() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"quantised to torch\.int32"):
        magicmind.parse(torch.export.export(ToWide(), (torch.randn(2),)))
