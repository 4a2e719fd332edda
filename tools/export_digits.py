"""Writes the demo's network, digits.onnx, in the formats of Caffe, TensorFlow and PyTorch: the same weights four times.

python tools/export_digits.py    # needs torch; writes digits.{prototxt,caffemodel,pb,pt} to src/magicmind/data
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from magicmind.frontends.tensorflow.schema import GraphDef
from magicmind.testing.caffe import caffemodel

DATA = Path(__file__).parents[1] / "src" / "magicmind" / "data"
EPSILON = 1e-5

Array = np.ndarray


class Weights:
    """The parameters of digits.onnx by the names of its nodes."""

    def __init__(self, path: Path) -> None:
        self.arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}

    def of(self, node: str, *keys: str) -> list[Array]:
        return [self.arrays[f"{node}.{key}"] for key in keys]


STEM = [("digits.0.conv", "digits.1.batchnorm"), ("digits.3.conv", "digits.4.batchnorm")]
DEPTHWISE = ("digits.7.residual.0.conv", "digits.7.residual.1.batchnorm")
POINTWISE = ("digits.7.residual.3.conv", "digits.7.residual.4.batchnorm")
LINEAR = "digits.10.linear"


# ------------------------------------------------------------------------------------------------------------- Caffe


def write_caffe(weights: Weights, stem: Path) -> None:
    layers: list[str] = []
    blobs: dict[str, list[Array]] = {}

    def layer(name: str, kind: str, bottoms: list[str], settings: str = "", top: str = "") -> str:
        reads = " ".join(f'bottom: "{b}"' for b in bottoms)
        layers.append(f'layer {{ name: "{name}" type: "{kind}" {reads} top: "{top or name}" {settings} }}')
        return top or name

    def block(names: tuple[str, str], x: str, relu: bool) -> str:
        conv, norm = names
        (weight,) = weights.of(conv, "weight")
        gamma, beta, mean, var = weights.of(norm, "gamma", "beta", "mean", "var")
        size, group = weight.shape[2], 1 if weight.shape[1] > 1 or x == "image" else weight.shape[0]
        settings = (
            f"convolution_param {{ num_output: {weight.shape[0]} kernel_size: {size} pad: {size // 2} "
            f"group: {group} bias_term: false }}"
        )
        y = layer(conv, "Convolution", [x], settings)
        layer(norm, "BatchNorm", [y], f"batch_norm_param {{ use_global_stats: true eps: {EPSILON} }}", y)
        layer(f"{norm}.scale", "Scale", [y], "scale_param { bias_term: true }", y)
        blobs[conv], blobs[norm] = [weight], [mean, var, np.ones(1, np.float32)]
        blobs[f"{norm}.scale"] = [gamma, beta]
        return layer(f"{norm}.relu", "ReLU", [y], top=y) if relu else y

    x = "image"
    for names in STEM:
        x = block(names, x, True)
    x = layer("digits.6.maxpool2", "Pooling", [x], "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    inner = block(POINTWISE, block(DEPTHWISE, x, True), False)
    x = layer("digits.7.residual.add", "Eltwise", [x, inner])
    layer("digits.8.relu", "ReLU", [x], top=x)
    x = layer("digits.9.globalaverage", "Pooling", [x], "pooling_param { pool: AVE global_pooling: true }")
    x = layer(LINEAR, "InnerProduct", [x], "inner_product_param { num_output: 10 }")
    blobs[LINEAR] = weights.of(LINEAR, "weight", "bias")
    layer("probabilities", "Softmax", [x])
    head = 'name: "digits"\nlayer { name: "image" type: "Input" top: "image" '
    head += "input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } } }\n"
    stem.with_suffix(".prototxt").write_text(head + "\n".join(layers) + "\n")
    stem.with_suffix(".caffemodel").write_bytes(caffemodel(blobs))


# -------------------------------------------------------------------------------------------------------- TensorFlow


FLOAT, INT32 = 1, 3  # of TensorFlow's DataType


class Frozen:
    """A GraphDef under construction."""

    def __init__(self) -> None:
        self.graph = GraphDef()

    def node(self, op: str, name: str, *inputs: str, types: dict[str, int] | None = None, **attributes: object) -> str:
        node = self.graph.node.add(name=name, op=op, input=list(inputs))
        for key, kind in (types or {"T": FLOAT}).items():
            node.attr.add(key=key).value.type = kind
        for key, value in attributes.items():
            _write(node.attr.add(key=key).value, value)
        return name

    def constant(self, name: str, array: Array) -> str:
        kind = {np.dtype(np.float32): FLOAT, np.dtype(np.int32): INT32}[array.dtype]
        return self.node("Const", name, types={"dtype": kind}, value=np.ascontiguousarray(array))


def _write(target: object, value: object) -> None:
    """An attribute's value in the field of its kind."""
    match value:
        case bool():
            target.b = value
        case float():
            target.f = value
        case str():
            target.s = value.encode()
        case list():
            target.list.i.extend(value)
        case tuple():
            for size in value:
                target.shape.dim.add(size=size)
        case np.ndarray():
            target.tensor.dtype = FLOAT if value.dtype == np.float32 else INT32
            target.tensor.tensor_content = value.tobytes()
            for size in value.shape:
                target.tensor.tensor_shape.dim.add(size=size)


def write_tensorflow(weights: Weights, path: Path) -> None:
    """Channels last, as TensorFlow's networks are."""
    frozen = Frozen()
    x = frozen.node("Placeholder", "image", types={"dtype": FLOAT}, shape=(-1, 8, 8, 1))

    def block(names: tuple[str, str], x: str, relu: bool) -> str:
        conv, norm = names
        (weight,) = weights.of(conv, "weight")
        depthwise = weight.shape[1] == 1 and x != "image"
        filters = weight.transpose(2, 3, 0, 1) if depthwise else weight.transpose(2, 3, 1, 0)
        kernel = frozen.constant(f"{conv}.weight", filters)
        op = "DepthwiseConv2dNative" if depthwise else "Conv2D"
        y = frozen.node(op, conv, x, kernel, strides=[1, 1, 1, 1], padding="SAME", data_format="NHWC")
        keys = ("gamma", "beta", "mean", "var")
        parameters = [frozen.constant(f"{norm}.{k}", a) for k, a in zip(keys, weights.of(norm, *keys), strict=True)]
        y = frozen.node("FusedBatchNorm", norm, y, *parameters, epsilon=EPSILON, is_training=False, data_format="NHWC")
        return frozen.node("Relu", f"{norm}.relu", y) if relu else y

    for names in STEM:
        x = block(names, x, True)
    window = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1]}
    x = frozen.node("MaxPool", "digits.6.maxpool2", x, padding="VALID", data_format="NHWC", **window)
    inner = block(POINTWISE, block(DEPTHWISE, x, True), False)
    x = frozen.node("AddV2", "digits.7.residual.add", x, inner)
    x = frozen.node("Relu", "digits.8.relu", x)
    axes = frozen.constant("axes", np.array([1, 2], np.int32))
    x = frozen.node("Mean", "digits.9.globalaverage", x, axes, types={"T": FLOAT, "Tidx": INT32}, keep_dims=False)
    weight, bias = weights.of(LINEAR, "weight", "bias")
    x = frozen.node("MatMul", LINEAR, x, frozen.constant(f"{LINEAR}.weight", weight.T), transpose_a=False)
    x = frozen.node("BiasAdd", f"{LINEAR}.bias_add", x, frozen.constant(f"{LINEAR}.bias", bias))
    frozen.node("Softmax", "probabilities", x)
    path.write_bytes(frozen.graph.SerializeToString(deterministic=True))


# ----------------------------------------------------------------------------------------------------------- PyTorch


class Block(torch.nn.Sequential):
    def __init__(self, weights: Weights, names: tuple[str, str], groups: int, relu: bool) -> None:
        conv, norm = names
        (weight,) = weights.of(conv, "weight")
        gamma, beta, mean, var = weights.of(norm, "gamma", "beta", "mean", "var")
        out, size = weight.shape[0], weight.shape[2]
        first = torch.nn.Conv2d(weight.shape[1] * groups, out, size, padding=size // 2, groups=groups, bias=False)
        second = torch.nn.BatchNorm2d(out, eps=EPSILON)
        super().__init__(first, second, *([torch.nn.ReLU()] if relu else []))
        first.load_state_dict({"weight": torch.tensor(weight)})
        arrays = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": var}
        second.load_state_dict({k: torch.tensor(v) for k, v in arrays.items()}, strict=False)


class Digits(torch.nn.Module):
    """Stem, pooling, a residual block, average, classifier."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(*(Block(weights, names, 1, True) for names in STEM), torch.nn.MaxPool2d(2))
        self.residual = torch.nn.Sequential(Block(weights, DEPTHWISE, 32, True), Block(weights, POINTWISE, 1, False))
        self.linear = torch.nn.Linear(32, 10)
        weight, bias = weights.of(LINEAR, "weight", "bias")
        self.linear.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        x = torch.relu(x + self.residual(x))
        return torch.softmax(self.linear(x.mean((2, 3))), 1)


def write_pytorch(weights: Weights, path: Path) -> None:
    with torch.no_grad():
        program = torch.jit.trace(Digits(weights).eval(), torch.zeros(2, 1, 8, 8))
    torch.jit.save(program, path)


def main() -> None:
    weights = Weights(DATA / "digits.onnx")
    write_caffe(weights, DATA / "digits")
    write_tensorflow(weights, DATA / "digits.pb")
    write_pytorch(weights, DATA / "digits.pt")
    for path in sorted(DATA.glob("digits.*")):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
