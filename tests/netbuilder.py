"""Small networks with seeded weights for tests, and the comparison of what we build with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

import magicmind

Array = np.ndarray[Any, np.dtype[Any]]


class Net:
    """An ONNX graph under construction; every method that adds a node returns the name of its first output."""

    def __init__(self, *, opset: int = 22, seed: int = 7) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def input(self, name: str, shape: Sequence[int | str], dtype: Any = np.float32) -> str:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def const(self, array: Any) -> str:
        name = self._fresh("const")
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def floats(self, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        """A constant of random float32 in [low, high)."""
        return self.const(self.rng.uniform(low, high, shape).astype(np.float32))

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        return self.ops(kind, 1, *inputs, name=name, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, name: str | None = None, **attributes: Any) -> list[str]:
        """A node with several outputs; returns their names."""
        names = [self._fresh(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name or f"node_{names[0]}", **attributes))
        return names

    def conv(
        self, x: str, channels: int, out: int, kernel: int | Sequence[int] = 3, *, group: int = 1, bias: bool = True,
        **attributes: Any,
    ) -> str:  # fmt: skip
        """A convolution whose outputs stay about as large as its inputs; "same" padding unless told otherwise."""
        sizes = [kernel, kernel] if isinstance(kernel, int) else list(kernel)
        if "pads" not in attributes and "auto_pad" not in attributes:
            dilations = attributes.get("dilations", [1] * len(sizes))
            half = [d * (k - 1) // 2 for k, d in zip(sizes, dilations, strict=True)]
            attributes["pads"] = half + half
        bound = (3.0 / (channels // group * np.prod(sizes))) ** 0.5
        weights = [self.floats(out, channels // group, *sizes, low=-bound, high=bound)]
        if bias:
            weights.append(self.floats(out, low=-0.2, high=0.2))
        return self.op("Conv", x, *weights, group=group, **attributes)

    def conv_transpose(self, x: str, channels: int, out: int, kernel: int, *, group: int = 1, **attributes: Any) -> str:
        bound = (3.0 / channels) ** 0.5
        weight = self.floats(channels, out // group, kernel, kernel, low=-bound, high=bound)
        return self.op("ConvTranspose", x, weight, self.floats(out, low=-0.2, high=0.2), group=group, **attributes)

    def batch_norm(self, x: str, channels: int) -> str:
        scale, variance = self.floats(channels, low=0.5, high=1.5), self.floats(channels, low=0.5, high=1.5)
        bias, mean = self.floats(channels, low=-0.3, high=0.3), self.floats(channels, low=-0.3, high=0.3)
        return self.op("BatchNormalization", x, scale, bias, mean, variance)

    def block(self, x: str, channels: int, out: int, kernel: int | Sequence[int] = 3, **attributes: Any) -> str:
        """Convolution, batch normalisation, Relu."""
        return self.op("Relu", self.batch_norm(self.conv(x, channels, out, kernel, bias=False, **attributes), out))

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The finished model; output types are left to inference."""
        graph = helper.make_graph(
            self.nodes, "net", self.inputs, [onnx.ValueInfoProto(name=name) for name in outputs], self.constants
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


def reference(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What onnxruntime gives, by output name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


def relative_l2(got: Array, want: Array) -> float:
    """Length of the difference over the length of `want`; 0 for two empty or two equal arrays."""
    difference = float(np.linalg.norm(got.astype(np.float64) - want.astype(np.float64)))
    return difference / max(float(np.linalg.norm(want.astype(np.float64))), 1e-30) if difference else 0.0


def random_feeds(model: onnx.ModelProto, seed: int = 3, **symbols: int) -> dict[str, Array]:
    """Standard normal inputs; `symbols` gives the sizes of named dims."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for info in model.graph.input:
        dims = [symbols[d.dim_param] if d.dim_param else d.dim_value for d in info.type.tensor_type.shape.dim]
        kind = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        feeds[info.name] = np.asarray(rng.standard_normal(dims), kind)
    return feeds


def check_outputs(got: Mapping[str, Array], want: Mapping[str, Array], tolerance: float = 1e-5) -> None:
    """Asserts equal names, shapes and dtypes, and close values: relative L2 for floats, equality for the rest."""
    assert list(got) == list(want)
    for name, array in want.items():
        assert (got[name].shape, got[name].dtype) == (array.shape, array.dtype), name
        if array.dtype.kind == "f":
            assert np.isfinite(got[name]).all(), name
            assert relative_l2(got[name], array) <= tolerance, (name, relative_l2(got[name], array))
        else:
            np.testing.assert_array_equal(got[name], array, err_msg=name)


def check_model(
    model: onnx.ModelProto,
    *,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    runs: Sequence[Mapping[str, int]] = ({},),
    feeds: Mapping[str, Array] | None = None,
    tolerance: float = 1e-5,
) -> None:
    """Builds `model` once and compares it with onnxruntime for every set of symbol values in `runs`."""
    with magicmind.build(magicmind.parse(model), shapes=shapes) as built, built.session(threads=2) as session:
        for sizes in runs:
            given = random_feeds(model, **sizes) if feeds is None else feeds
            check_outputs(session.run(given), reference(model, given), tolerance)
