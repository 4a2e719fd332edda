"""LabelEncoder and CategoryMapper (domain ai.onnx.ml): other names for words and numbers. They are host steps."""

from __future__ import annotations

from typing import Any

from onnx_ir import DataType

from magicmind.errors import ModelFormatError
from magicmind.ir.types import TensorType
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import NodeView, Op

DOMAIN = "ai.onnx.ml"
label_encoder = Op("LabelEncoder", DOMAIN).host()
category_mapper = Op("CategoryMapper", DOMAIN)

_TYPES = {"strings": DataType.STRING, "int64s": DataType.INT64, "floats": DataType.FLOAT}


def listed(e: Expansion, name: str) -> list[Any]:
    """An attribute that is a list; an empty one when absent."""
    return list(e.view.attr(name) or [])


@label_encoder.infer
def infer_label_encoder(node: NodeView) -> list[TensorType]:
    """The shape of the input; the type of the values."""
    tensor = node.node.attributes.get("values_tensor")
    if tensor is not None:
        return [TensorType(tensor.as_tensor().dtype, node.input(0).shape)]
    for kind, dtype in _TYPES.items():
        if f"values_{kind}" in node.node.attributes:
            return [TensorType(dtype, node.input(0).shape)]
    raise ModelFormatError("the attribute with the values is missing")


@category_mapper.expand
def expand_category_mapper(e: Expansion) -> list[Value]:
    """Words to numbers or back, by two lists of equal length."""
    words, numbers = listed(e, "cats_strings"), listed(e, "cats_int64s")
    names: dict[str, Any] = {"keys_strings": words, "values_int64s": numbers}
    names["default_int64"] = e.view.attr("default_int64", -1)
    if e.type(e.input(0)).dtype != DataType.STRING:
        names = {"keys_int64s": numbers, "values_strings": words}
        names["default_string"] = e.view.attr("default_string", "_Unused")
    return [e.op("LabelEncoder", e.input(0), domain=DOMAIN, **names)]
