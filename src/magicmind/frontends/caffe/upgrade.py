"""Layers of the two older formats written as current ones.

V1 (`layers { type: CONVOLUTION ... }`, 2013 to 2014) has enum types and shares weights by a list of strings. V0
(`layers { layer { type: "conv" ... } }`, 2013) has one bag of fields for all types and padding as a layer of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence
from typing import Any

from magicmind.errors import ModelFormatError
from magicmind.frontends.caffe import schema

_V1_NAMES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONVOLUTION3D": "Convolution3D",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "POOLING3D": "Pooling3D",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
"""Types whose current name is not the old one in camel case."""

_V0_NAMES = {
    "accuracy": "Accuracy",
    "bnll": "BNLL",
    "concat": "Concat",
    "conv": "Convolution",
    "data": "Data",
    "dropout": "Dropout",
    "euclidean_loss": "EuclideanLoss",
    "flatten": "Flatten",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "im2col": "Im2col",
    "images": "ImageData",
    "infogain_loss": "InfogainLoss",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MultinomialLogisticLoss",
    "pool": "Pooling",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softmax_loss": "SoftmaxWithLoss",
    "split": "Split",
    "tanh": "TanH",
    "window_data": "WindowData",
}

_V0_FIELDS = {
    "conv": ("convolution_param", {"num_output", "biasterm", "pad", "kernelsize", "group", "stride"}),
    "pool": ("pooling_param", {"pool", "pad", "kernelsize", "stride"}),
    "innerproduct": ("inner_product_param", {"num_output", "biasterm"}),
    "lrn": ("lrn_param", {"local_size", "alpha", "beta", "k"}),
    "concat": ("concat_param", {"concat_dim"}),
    "data": ("data_param", {"batchsize", "cropsize"}),
    "images": ("image_data_param", {"batchsize", "cropsize", "new_height", "new_width"}),
    "window_data": ("window_data_param", {"batchsize", "cropsize"}),
    "hdf5_data": ("hdf5_data_param", {"batchsize"}),
}
"""Where each type's fields went."""

_V0_RENAMED = {
    "biasterm": "bias_term",
    "kernelsize": "kernel_size",
    "batchsize": "batch_size",
    "cropsize": "crop_size",
}


def upgraded(net: Any) -> list[Any]:
    """The net's layers in the current format.  Raises ModelFormatError for unknown old types, and for a mixture."""
    if net.layer and net.layers:
        raise ModelFormatError("the net has both `layer` and `layers`", hint="write all layers in one of the formats")
    if not net.layers:
        return list(net.layer)
    if any(old.HasField("layer") for old in net.layers):
        return _from_v0(net.layers)
    return [_from_v1(old) for old in net.layers]


def _from_v1(old: Any) -> Any:
    layer = schema.Layer()
    for field, value in old.ListFields():
        if field.name == "type":
            layer.type = _v1_name(schema.V1_TYPE[value].name)
        elif field.name == "param":
            for name in value:
                layer.param.add(name=name)
        elif isinstance(value, MutableSequence):
            getattr(layer, field.name).extend(value)
        elif field.message_type is not None:
            getattr(layer, field.name).CopyFrom(value)
        else:
            setattr(layer, field.name, value)
    return layer


def _v1_name(old: str) -> str:
    return _V1_NAMES.get(old) or "".join(word.capitalize() for word in old.split("_"))


def _from_v0(layers: Iterable[Any]) -> list[Any]:
    """Padding layers add to `pad` of what reads them."""
    found: list[Any] = []
    padded: dict[str, tuple[str, int]] = {}  # top of a padding layer -> its bottom, its amount
    for connection in layers:
        old = connection.layer
        if old.type == "padding":
            padded[connection.top[0]] = (connection.bottom[0], old.pad)
            continue
        layer = _from_v0_layer(old)
        layer.top.extend(connection.top)
        for bottom in connection.bottom:
            source, amount = padded.get(bottom, (bottom, 0))
            layer.bottom.append(source)
            if amount:
                _add_padding(layer, amount)
        found.append(layer)
    return found


def _from_v0_layer(old: Any) -> Any:
    if old.type not in _V0_NAMES:
        raise ModelFormatError(f"layer {old.name!r}: the old format has no layer type {old.type!r}")
    layer = schema.Layer(name=old.name, type=_V0_NAMES[old.type])
    layer.blobs.extend(old.blobs)
    part, fields = _V0_FIELDS.get(old.type, ("", set()))
    for field, value in old.ListFields():
        if field.name not in fields:
            continue
        target, name = getattr(layer, part), _V0_RENAMED.get(field.name, field.name)
        if isinstance(getattr(target, name), MutableSequence):
            getattr(target, name).append(value)
        else:
            setattr(target, name, value)
    return layer


def _add_padding(layer: Any, amount: int) -> None:
    part = {"Convolution": layer.convolution_param, "Pooling": layer.pooling_param}.get(layer.type)
    if part is None:
        raise ModelFormatError(f"layer {layer.name!r} ({layer.type}) reads a padding layer; only conv and pool can")
    part.pad[:] = [amount]
