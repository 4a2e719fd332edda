"""Normalisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value


def _or_full(c: Converter, x: Tensor | None, number: float, size: Any, like: Value) -> Value:
    """A parameter, or a vector of `number`."""
    if x is not None:
        return c.value(x)
    if not isinstance(size, int):
        raise UnsupportedOperatorError("a normalisation without parameters over a mutable number of channels")
    return c.net.const(np.full(size, number), c.net.type(like).dtype.numpy())


def _batch_norm(c: Converter, x: Tensor, parameters: Sequence[Tensor | None], eps: float) -> Value:
    value = c.value(x)
    channels = c.shape(x)[1]
    weight, bias, mean, var = parameters
    if mean is None or var is None:
        raise UnsupportedOperatorError(
            "batch normalisation by the batch's own statistics", hint="call eval() on the module before export"
        )
    scale, shift = _or_full(c, weight, 1.0, channels, value), _or_full(c, bias, 0.0, channels, value)
    return c.net.op("BatchNormalization", value, scale, shift, c.value(mean), c.value(var), epsilon=float(eps))


@aten("batch_norm")
def batch_norm(
    c: Converter, x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *rest: Any
) -> Value:
    if training:
        raise UnsupportedOperatorError(
            "batch normalisation in training mode", hint="call eval() on the module before export"
        )
    return _batch_norm(c, x, (weight, bias, mean, var), rest[1])


@aten("_native_batch_norm_legit_no_training")
def batch_norm_no_training(
    c: Converter, x: Tensor, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> Any:
    result = _batch_norm(c, x, (weight, bias, mean, var), eps)
    return result, result, result  # the statistics that training asks for are used by nobody


@aten("layer_norm")
def layer_norm(
    c: Converter, x: Tensor, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *rest: Any
) -> Value:
    value = c.value(x)
    like = c.net.type(value).dtype.numpy()
    scale = c.net.const(np.ones(shape), like) if weight is None else c.value(weight)
    inputs = [value, scale, *([] if bias is None else [c.value(bias)])]
    return c.net.op("LayerNormalization", *inputs, axis=-len(shape), epsilon=float(eps))


@aten("native_layer_norm")
def native_layer_norm(c: Converter, x: Tensor, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    result = layer_norm(c, x, shape, weight, bias, eps)
    return result, result, result


@aten("rms_norm")
def rms_norm(c: Converter, x: Tensor, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Value:
    value = c.value(x)
    small = float(np.finfo(c.net.type(value).dtype.numpy()).eps) if eps is None else float(eps)
    axes = c.net.ints(*range(-len(shape), 0))
    power = c.net.op("ReduceMean", c.net.op("Mul", value, value), axes, keepdims=1)
    root = c.net.op("Sqrt", c.net.op("Add", power, c.net.scalar(small, value)))
    result = c.net.op("Div", value, root)
    return result if weight is None else c.net.op("Mul", result, c.value(weight))


@aten("group_norm")
def group_norm(
    c: Converter, x: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *rest: Any
) -> Value:
    value = c.value(x)
    channels = c.shape(x)[1]
    scale, shift = _or_full(c, weight, 1.0, channels, value), _or_full(c, bias, 0.0, channels, value)
    return c.net.op("GroupNormalization", value, scale, shift, num_groups=groups, epsilon=float(eps))


@aten("native_group_norm")
def native_group_norm(
    c: Converter, x: Tensor, weight: Any, bias: Any, n: Any, channels: Any, size: Any, groups: int, eps: float
) -> Any:
    result = group_norm(c, x, groups, weight, bias, eps)
    return result, result, result


@aten("instance_norm")
def instance_norm(
    c: Converter,
    x: Tensor,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    use_input: bool,
    momentum: float,
    eps: float,
    *rest: Any,
) -> Value:
    if not use_input:
        return _batch_norm(c, x, (weight, bias, mean, var), eps)
    value = c.value(x)
    channels = c.shape(x)[1]
    scale, shift = _or_full(c, weight, 1.0, channels, value), _or_full(c, bias, 0.0, channels, value)
    return c.net.op("InstanceNormalization", value, scale, shift, epsilon=float(eps))


@aten("local_response_norm")
def local_response_norm(
    c: Converter, x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Value:
    return c.net.op("LRN", c.value(x), size=size, alpha=float(alpha), beta=float(beta), bias=float(k))
