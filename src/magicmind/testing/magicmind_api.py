"""Help for tests: parsing, building and running through the API in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import magicmind
import magicmind.python.runtime as mm

DATA = Path(magicmind.__file__).parent / "data"
FIXED = '{"graph_shape_mutable": false}'
Array = np.ndarray[Any, np.dtype[Any]]


def config(*texts: str) -> mm.BuilderConfig:
    """A configuration of these JSON texts."""
    made = mm.BuilderConfig()
    for text in texts:
        status = made.parse_from_string(text)
        assert status.ok(), status
    return made


def run_model(model: mm.Model, *arrays: Any) -> list[Array]:
    """The outputs of a built model."""
    engine = model.create_i_engine()
    context = None if engine is None else engine.create_i_context()
    queue = mm.Device().create_queue()
    assert context is not None and queue is not None
    inputs, outputs = context.create_inputs(), []  # type: ignore[var-annotated]
    for tensor, array in zip(inputs, arrays, strict=True):
        status = tensor.from_numpy(array)
        assert status.ok(), status
    status = context.enqueue(inputs, outputs, queue)
    assert status.ok(), status
    assert queue.sync().ok()
    return [array for output in outputs if (array := output.asnumpy()) is not None]


def build(network: mm.Network, *texts: str) -> mm.Model:
    """The model of a network."""
    builder = mm.Builder()
    model = builder.build_model("network", network, config(*texts))
    assert model is not None, builder.status
    return model


def run(network: mm.Network, *arrays: Any, config: str = "{}") -> list[Array]:
    """The outputs of a network once it is built."""
    return run_model(build(network, config), *arrays)


def parsed(kind: mm.ModelKind, *files: Any, **parameters: Any) -> mm.Network:
    """What a parser makes of files; its parameters with `_` for `-`."""
    network, parser = mm.Network(), mm.parser.Parser(kind)
    for key, value in parameters.items():
        status = parser.set_model_param(key.replace("_", "-"), value)
        assert status.ok(), status
    status = parser.parse(network, *map(str, files))
    assert status.ok(), status
    return network


def from_onnx(path: str) -> mm.Network:
    """The network of an ONNX file."""
    return parsed(mm.ModelKind.kOnnx, path)


def from_torch(path: str) -> mm.Network:
    """The network of a TorchScript file with one input of float32."""
    return parsed(mm.ModelKind.kPytorch, path, pytorch_input_dtypes=[mm.DataType.FLOAT32])


def demo_of_caffe() -> mm.Network:
    """The demo's network of Caffe."""
    return parsed(mm.ModelKind.kCaffe, DATA / "digits.caffemodel", DATA / "digits.prototxt")


def demo_of_tensorflow(**parameters: Any) -> mm.Network:
    """The demo's network of TensorFlow."""
    return parsed(
        mm.ModelKind.kTensorflow,
        DATA / "digits.pb",
        tf_model_type="tf-graphdef-file",
        tf_infer_shape=True,
        **parameters,
    )


def names(network: mm.Network) -> tuple[list[str], list[str]]:
    """Of the inputs and the outputs."""
    inputs = [network.get_input(i).get_tensor_name() for i in range(network.get_input_count())]  # type: ignore[union-attr]
    outputs = [network.get_output(i).get_tensor_name() for i in range(network.get_output_count())]  # type: ignore[union-attr]
    return inputs, outputs
