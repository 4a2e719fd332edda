"""Networks that PyTorch's eager or FX mode has quantised: tensors with a scale, and operators with packed weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.aten.linear import linear
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.dtypes import torch_dtype
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.quantised import like, per_tensor, to_float, to_steps, whole_dtype
from magicmind.frontends.pytorch.steps import chosen, dequantise, known
from magicmind.frontends.pytorch.values import Quantised, Tensor
from magicmind.ops.emitter import Value


def _number(x: Any) -> Any:
    """A parameter, which some overloads give as a tensor.  Raises UnsupportedOperatorError."""
    if isinstance(x, (int, float)):
        return x
    constant = known(x)
    if constant is None:
        raise UnsupportedOperatorError("a scale, zero point or factor that only the run tells")
    return constant.item()


@aten("quantize_per_tensor")
def quantize_per_tensor(c: Converter, x: Tensor, scale: Any, zero: Any, dtype: Any) -> Quantised:
    """QuantizeLinear; the tensor keeps its scale and zero point."""
    return to_steps(c, x, _number(scale), _number(zero), whole_dtype(torch_dtype(dtype)))


@aten("dequantize", on_quantised=True)
def dequantize(c: Converter, x: Any) -> Any:
    """DequantizeLinear."""
    return to_float(c, x)


@aten("int_repr", on_quantised=True)
def int_repr(c: Converter, x: Quantised) -> Tensor:
    """The whole numbers."""
    return x.whole


@aten("q_scale", on_quantised=True)
def q_scale(c: Converter, x: Quantised) -> float:
    return x.scale


@aten("q_zero_point", on_quantised=True)
def q_zero_point(c: Converter, x: Quantised) -> int:
    return x.zero


@aten("is_quantized", "prim::is_quantized", on_quantised=True)
def is_quantized(c: Converter, x: Quantised) -> bool:
    return True


# ------------------------------------------------------------------------------------------ operators with fixed steps


def _fixed(name: str, scale: float, lowest: int) -> Callable[..., Quantised]:
    """The whole range of the type covers what the function gives; `lowest`: zero point of unsigned numbers."""

    def importer(c: Converter, x: Quantised, *rest: Any) -> Quantised:
        dtype = c.dtype(x.whole)
        zero = lowest if dtype == torch.uint8 else lowest - 128
        return to_steps(c, c.call(name, [to_float(c, x), *rest]), scale, zero, dtype)

    return importer


for _name, _scale, _zero in (("sigmoid", 1 / 256, 0), ("hardsigmoid", 1 / 256, 0), ("tanh", 2 / 256, 128)):
    aten(_name, on_quantised=True)(_fixed(f"aten::{_name}", _scale, _zero))


# ---------------------------------------------------------------------------------------------- arithmetic, functions


def _then(c: Converter, x: Any, activation: str) -> Any:
    return c.call(f"aten::{activation}", [x]) if activation else x


def _binary(name: str, activation: str) -> Callable[..., Quantised]:
    def importer(c: Converter, a: Any, b: Any, scale: float | None = None, zero: int | None = None) -> Quantised:
        if scale is None or zero is None:
            x, number = (a, _number(b)) if isinstance(a, Quantised) else (b, _number(a))
            return _with_number(c, name, x, float(number), activation)
        result = c.call(f"aten::{name}", [to_float(c, a), to_float(c, b), *([1] if name == "add" else [])])
        return to_steps(c, _then(c, result, activation), scale, zero, c.dtype(a.whole))

    return importer


def _with_number(c: Converter, name: str, x: Quantised, number: float, activation: str) -> Quantised:
    """A sum or product with a number; its steps follow from those of x."""
    dtype = c.dtype(x.whole)
    info = torch.iinfo(dtype)
    if name == "mul":
        scale = abs(number) * x.scale if number else 1.0
        zero = 0 if number == 0 else x.zero if number > 0 else info.max + info.min - x.zero
        result = c.call("aten::mul", [to_float(c, x), number])
        return to_steps(c, _then(c, result, activation), scale, zero, dtype)
    steps = round(number / x.scale)
    moved, scale = x.zero - steps, x.scale
    if moved < info.min:
        scale *= (info.max - moved) / (info.max - info.min)
    elif moved > info.max:
        scale *= (moved - info.min) / (info.max - info.min)
    result = c.call("aten::add", [to_float(c, x), steps * x.scale, 1])
    return to_steps(c, _then(c, result, activation), scale, min(max(moved, info.min), info.max), dtype)


for _activation in ("", "relu"):
    _end = f"_{_activation}" if _activation else ""
    for _name in ("add", "mul"):
        aten(f"quantized::{_name}{_end}", f"quantized::{_name}_scalar{_end}")(_binary(_name, _activation))
aten("quantized::matmul")(_binary("matmul", ""))


def _cat(activation: str) -> Callable[..., Quantised]:
    def importer(c: Converter, parts: Any, dim: int, scale: float | None = None, zero: int | None = None) -> Quantised:
        result = _then(c, c.call("aten::cat", [to_float(c, list(parts)), dim]), activation)
        if scale is None or zero is None:
            scale, zero = parts[0].scale, parts[0].zero
        return to_steps(c, result, scale, zero, c.dtype(parts[0].whole))

    return importer


aten("quantized::cat")(_cat(""))
aten("quantized::cat_relu")(_cat("relu"))


def _function(name: str, before: int) -> Callable[..., Quantised]:
    """x, `before` arguments of the float operator, scale, zero point, its other arguments."""

    def importer(c: Converter, x: Quantised, *rest: Any) -> Quantised:
        scale, zero = rest[before : before + 2]
        result = c.call(f"aten::{name}", to_float(c, [x, *rest[:before], *rest[before + 2 :]]))
        return to_steps(c, result, scale, zero, c.dtype(x.whole))

    return importer


for _before, *_names in (
    (0, "sigmoid", "hardswish", "elu", "celu"), (1, "softmax", "prelu"), (4, "layer_norm", "group_norm"),
):  # fmt: skip
    for _name in _names:
        aten(f"quantized::{_name}")(_function(_name, _before))


@aten("quantized::leaky_relu")
def leaky_relu(c: Converter, x: Quantised, slope: float, inplace: bool, scale: float, zero: int) -> Quantised:
    return _function("leaky_relu", 1)(c, x, slope, scale, zero)


def _batch_norm(activation: str) -> Callable[..., Quantised]:
    def importer(
        c: Converter, x: Quantised, weight: Any, bias: Any, mean: Any, var: Any, eps: float, scale: float, zero: int
    ) -> Quantised:
        settings = [weight, bias, mean, var, False, 0.0, eps, False]
        result = c.call("aten::batch_norm", [to_float(c, x), *settings])
        return to_steps(c, _then(c, result, activation), scale, zero, c.dtype(x.whole))

    return importer


for _kind in ("", "1d", "2d", "3d"):
    aten(f"quantized::batch_norm{_kind}")(_batch_norm(""))
    aten(f"quantized::batch_norm{_kind}_relu")(_batch_norm("relu"))


def _same(name: str, count: int) -> Callable[..., Any]:
    """The float operator with `count` of the arguments, in the steps of x."""
    return lambda c, x, *rest: like(c, c.call(f"aten::{name}", [to_float(c, x), *rest[:count]]), x)


for _name, _count in (("relu6", 0), ("clamp", 2), ("threshold", 2), ("max_pool1d", 5), ("max_pool2d", 5)):
    aten(f"quantized::{_name}")(_same(_name, _count))


@aten("quantized::dropout")
def dropout(c: Converter, x: Quantised, *settings: Any) -> Quantised:
    """Nothing, at inference."""
    return x


# ----------------------------------------------------------------------------------------------------- packed weights


def weights(c: Converter, unpacked: torch.Tensor) -> Tensor:
    """Weights as float: DequantizeLinear of a constant, with one scale or one per output channel."""
    scales, zeros = _parameters(unpacked)
    axis = unpacked.q_per_channel_axis() if scales.ndim else None
    return Tensor(dequantise(c, Tensor(unpacked.int_repr()), scales, zeros, axis))


def _parameters(unpacked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point: of rank 0, or one for each output channel."""
    if per_tensor(unpacked):
        return torch.tensor(unpacked.q_scale()), torch.tensor(unpacked.q_zero_point())
    return unpacked.q_per_channel_scales().float(), unpacked.q_per_channel_zero_points()


def _bias(bias: torch.Tensor | None) -> Tensor | None:
    return None if bias is None else Tensor(bias.detach())


def _convolution(kind: str, spatial: int, activation: str) -> Callable[..., Quantised]:
    """kind: `conv` or `conv_transpose`."""
    ops, name = torch.ops.quantized, f"{kind}{spatial}d"
    described = f"{kind}{max(spatial, 2)}d"  # one axis is packed as two

    def importer(c: Converter, x: Quantised, packed: Any, *rest: Any) -> Quantised:
        weight, bias = getattr(ops, f"{name}_unpack")(packed)
        names = ("stride", "padding", "dilation", "output_padding")
        stride, padding, dilation, more = (list(getattr(ops, f"{described}_{n}")(packed))[-spatial:] for n in names)
        groups = getattr(ops, f"{described}_groups")(packed)
        given = [to_float(c, x), weights(c, weight), _bias(bias), stride, padding]
        given += [dilation, groups] if kind == "conv" else [more, groups, dilation]
        result = c.call(f"aten::{name}", given)
        scale, zero = rest[-2:]
        return to_steps(c, _then(c, result, activation), scale, zero, c.dtype(x.whole))

    return importer


for _spatial in (1, 2, 3):
    aten(f"quantized::conv{_spatial}d")(_convolution("conv", _spatial, ""))
    aten(f"quantized::conv{_spatial}d_relu")(_convolution("conv", _spatial, "relu"))
    aten(f"quantized::conv_transpose{_spatial}d")(_convolution("conv_transpose", _spatial, ""))


def _linear(activation: str) -> Callable[..., Quantised]:
    def importer(c: Converter, x: Quantised, packed: Any, scale: float, zero: int) -> Quantised:
        weight, bias = torch.ops.quantized.linear_unpack(packed)
        result = Tensor(linear(c, to_float(c, x), weights(c, weight), _bias(bias)))
        return to_steps(c, _then(c, result, activation), scale, zero, c.dtype(x.whole))

    return importer


aten("quantized::linear")(_linear(""))
aten("quantized::linear_relu")(_linear("relu"))


def _dynamic(activation: str) -> Callable[..., Any]:
    """Steps that hold all of x, of 7 bits where `reduce_range` says so; the product is one of whole numbers."""

    def importer(c: Converter, x: Tensor, packed: Any, reduce_range: bool = False) -> Any:
        weight, bias = torch.ops.quantized.linear_unpack(packed)
        result = Tensor(_dynamic_product(c, x, weight, 127 if reduce_range else 255))
        if bias is not None:
            result = c.call("aten::add", [result, _bias(bias), 1])
        return _then(c, result, activation)

    return importer


def _dynamic_product(c: Converter, x: Tensor, weight: torch.Tensor, most: int) -> Value:
    scale, zero = chosen(c, x, (0, most), 6.1e-5)
    shift = c.cast(zero, torch.uint8)
    whole = c.net.op("QuantizeLinear", c.value(x), scale, shift)
    scales, zeros = _parameters(weight)
    inputs = [whole, c.value(weight.int_repr().t().contiguous()), shift]
    if zeros.any():
        inputs.append(c.value(zeros.to(torch.int8)))
    total = c.cast(c.net.op("MatMulInteger", *inputs), torch.float32)
    return c.net.op("Mul", total, c.net.op("Mul", scale, c.value(scales)))


aten("quantized::linear_dynamic")(_dynamic(""))
aten("quantized::linear_relu_dynamic")(_dynamic("relu"))


def _half(activation: str) -> Callable[..., Any]:
    """Weights were rounded to float16; the product is one of float32."""

    def importer(c: Converter, x: Tensor, packed: Any) -> Any:
        weight, bias = torch.ops.quantized.linear_unpack_fp16(packed)
        return _then(c, Tensor(linear(c, x, Tensor(weight.detach().float()), _bias(bias))), activation)

    return importer


aten("quantized::linear_dynamic_fp16")(_half(""))
aten("quantized::linear_relu_dynamic_fp16")(_half("relu"))
