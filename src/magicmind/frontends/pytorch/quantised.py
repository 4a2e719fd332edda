"""Operators on quantised tensors: what they are between, and with which parameters their results go on.

PyTorch's operators keep the parameters of their input unless their arguments say otherwise, so each becomes
DequantizeLinear, the float operator and QuantizeLinear; the passes take what they can to whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import KEEPS_STEPS, ON_QUANTISED, ON_WHOLE, PYTHON, find
from magicmind.frontends.pytorch.steps import dequantise, quantise
from magicmind.frontends.pytorch.values import Quantised, Tensor, flatten, map_leaves

_WHOLE = {torch.quint8: torch.uint8, torch.qint8: torch.int8}
_FACTS = ("aten::size", "aten::sym_size", "aten::dim", "aten::len", "aten::numel")


def whole_dtype(dtype: torch.dtype) -> torch.dtype:
    """The whole numbers of a quantised type.  Raises UnsupportedOperatorError."""
    if dtype not in _WHOLE:
        raise UnsupportedOperatorError(f"tensors of {dtype}", hint="quantise to quint8 or qint8")
    return _WHOLE[dtype]


def to_float(c: Converter, x: Any) -> Any:
    """Quantised tensors in a nested value as float ones."""
    return map_leaves(lambda v: Tensor(dequantise(c, v.whole, v.scale, v.zero)) if isinstance(v, Quantised) else v, x)


def to_steps(c: Converter, x: Any, scale: float, zero: int, dtype: torch.dtype) -> Quantised:
    """A float tensor in steps; `dtype` of its whole numbers."""
    return Quantised(Tensor(quantise(c, x, scale, zero, dtype)), float(scale), int(zero))


def like(c: Converter, x: Any, model: Quantised) -> Any:
    """Float tensors in a nested value with the parameters of `model`."""
    dtype = c.dtype(model.whole)
    return map_leaves(
        lambda v: (
            to_steps(c, v, model.scale, model.zero, dtype)
            if isinstance(v, Tensor) and c.dtype(v).is_floating_point
            else v
        ),
        x,
    )


def per_tensor(tensor: torch.Tensor) -> bool:
    """Whether a quantised tensor of torch has one scale for all."""
    return tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric)


def constant(leaf: Any) -> Any:
    """A quantised constant of torch as ours; anything else as it is."""
    found = leaf.constant if isinstance(leaf, Tensor) else None
    if found is None or not found.is_quantized:
        return leaf
    if not per_tensor(found):
        raise UnsupportedOperatorError("a constant with a scale per channel among quantised tensors")
    return Quantised(Tensor(found.int_repr()), found.q_scale(), found.q_zero_point())


def call(c: Converter, name: str, args: Sequence[Any], schema: torch.FunctionSchema | None) -> Any:
    """The results of an operator that reads quantised tensors.  Raises UnsupportedOperatorError."""
    first = next(leaf for leaf in flatten(list(args)) if isinstance(leaf, Quantised))
    if name in ON_QUANTISED:
        return ON_QUANTISED[name](c, *args)
    if name in ON_WHOLE or name in _FACTS:
        bare = [map_leaves(lambda v: v.whole if isinstance(v, Quantised) else v, a) for a in args]
        results = c.call(name, bare, schema)
        return map_leaves(lambda v: Quantised(v, first.scale, first.zero) if isinstance(v, Tensor) else v, results)
    if name in KEEPS_STEPS:
        return like(c, c.call(name, to_float(c, list(args)), schema), first)
    importer = find(name)
    if importer is not None and name in PYTHON:
        return importer(c, *args)
    raise UnsupportedOperatorError(f"{name} of quantised tensors", hint="dequantise them first (DeQuantStub)")
