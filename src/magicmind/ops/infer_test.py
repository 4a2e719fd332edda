"""Every type rule against what onnxruntime really returns: once with fixed shapes, once with every dim a symbol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import magicmind
from magicmind.errors import Error
from magicmind.ir.dims import evaluate
from magicmind.ir.types import type_of
from magicmind.ops.reference import run_graph

OPSET = 21


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@dataclass
class Case:
    """An operator, its first input's shape, further inputs as constants (None: absent), attributes."""

    op: str
    shape: tuple[int, ...]
    constants: tuple[Any, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    dtype: Any = np.float32
    symbolic: bool = True

    def __str__(self) -> str:
        return f"{self.op}{list(self.shape)}{self.attributes or ''}"


def case(op: str, shape: tuple[int, ...], *constants: Any, outputs: int = 1, dtype: Any = np.float32,
         symbolic: bool = True, **attributes: Any) -> Case:  # fmt: skip
    return Case(op, shape, constants, attributes, outputs, dtype, symbolic)


W = weights(8, 4, 3, 3)
CASES = [
    case("Conv", (2, 4, 9, 7), W),
    case("Conv", (2, 4, 9, 8), W, weights(8), pads=[1, 0, 2, 1], strides=[2, 3]),
    case("Conv", (1, 4, 9, 8), weights(8, 1, 3, 3), group=4, dilations=[2, 1]),
    case("Conv", (1, 4, 9, 8), W, auto_pad="SAME_UPPER", strides=[2, 2]),
    case("Conv", (1, 4, 10, 8), W, auto_pad="SAME_LOWER", strides=[3, 2]),
    case("Conv", (1, 4, 10, 8), W, auto_pad="VALID", strides=[3, 2]),
    case("Conv", (1, 4, 10), weights(8, 4, 3), strides=[2]),
    case("Conv", (1, 4, 5, 6, 7), weights(8, 4, 3, 3, 3), pads=[1] * 6),
    case("ConvTranspose", (1, 8, 5, 6), weights(8, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    case("ConvTranspose", (1, 8, 5, 6), weights(8, 4, 3, 3), group=2, dilations=[2, 1]),
    case("ConvTranspose", (1, 8, 5, 6), weights(8, 4, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    case("ConvTranspose", (1, 8, 5, 6), weights(8, 4, 3, 3), strides=[2, 2], output_shape=[10, 12]),
    *(
        case("MaxPool", (1, 2, h, 9), kernel_shape=[k, 2], strides=[s, 2], ceil_mode=c, pads=[p, 0, p, 1])
        for h, k, s, p in [(7, 3, 2, 1), (8, 3, 2, 0), (8, 2, 3, 1), (9, 2, 3, 1), (6, 3, 4, 1)]
        for c in (0, 1)
    ),
    case("MaxPool", (1, 2, 8, 9), kernel_shape=[2, 2], strides=[2, 2], outputs=2),
    case("MaxPool", (1, 2, 8, 9), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    case("MaxPool", (1, 2, 8, 9), kernel_shape=[2, 2], dilations=[3, 2], ceil_mode=1),
    case("AveragePool", (1, 2, 9, 11), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1),
    case("LpPool", (1, 2, 9, 11), kernel_shape=[3, 3], strides=[2, 2]),
    case("GlobalAveragePool", (2, 3, 4, 5)),
    case("GlobalMaxPool", (2, 3, 4)),
    case("MatMul", (2, 3, 4), weights(4, 5)),
    case("MatMul", (3, 4), weights(2, 4, 5)),
    case("MatMul", (4,), weights(2, 4, 5)),
    case("MatMul", (2, 3, 4), weights(4)),
    case("Gemm", (3, 4), weights(4, 5), weights(5)),
    case("Gemm", (4, 3), weights(5, 4), weights(1, 5), transA=1, transB=1),
    case("Add", (2, 3, 4), weights(3, 1)),
    case("Sub", (1, 4), weights(3, 1)),
    case("Div", (), weights(2, 2)),
    case("Pow", (3,), i64(2)),
    case("PRelu", (2, 3, 4), weights(3, 1)),
    case("Mod", (4,), i64(3), dtype=np.int64),
    case("Greater", (2, 3), weights(3)),
    case("Max", (2, 3), weights(3), weights(2, 1)),
    case("Mean", (2, 3), weights(3)),
    case("Not", (3,), dtype=np.bool_),
    case("And", (3,), np.array([True]), dtype=np.bool_),
    case("Where", (2, 1), weights(3), weights(2, 3), dtype=np.bool_),
    case("Clip", (2, 3), np.float32(0), np.float32(6)),
    case("Cast", (2, 3), to=TensorProto.INT64),
    *(case(op, (2, 3)) for op in ["Relu", "Sigmoid", "HardSwish", "Erf", "IsNaN", "Softplus", "Neg", "Gelu"]),
    case("ReduceMean", (2, 3, 4), i64(1, -1)),
    case("ReduceSum", (2, 3, 4), i64(0), keepdims=0),
    case("ReduceMax", (2, 3, 4)),
    case("ReduceL2", (2, 3, 4), i64(), noop_with_empty_axes=1, symbolic=False),
    case("ArgMax", (2, 3, 4), axis=-2, keepdims=0),
    case("Softmax", (2, 3, 4), axis=1),
    case("BatchNormalization", (2, 3, 4), *(np.abs(weights(3)) for _ in range(4))),
    case("InstanceNormalization", (2, 3, 4), weights(3), weights(3)),
    case("LayerNormalization", (2, 3, 4), weights(4), weights(4), axis=-1),
    case("GroupNormalization", (2, 4, 5), weights(4), weights(4), num_groups=2),
    case("LRN", (1, 5, 3, 3), size=3),
    case("LpNormalization", (2, 3), axis=1, p=2),
    case("Resize", (1, 2, 5, 7), None, f32(1, 1, 2, 2), mode="nearest"),
    case("Resize", (1, 2, 5, 7), None, f32(1, 1, 0.5, 1.25), mode="linear"),
    case("Resize", (1, 2, 5, 7), None, None, i64(1, 2, 9, 4), mode="cubic"),
    case("Resize", (1, 2, 5, 7), None, f32(1.5, 3), axes=[2, 3]),
    case(
        "Resize",
        (1, 2, 6, 9),
        None,
        None,
        i64(3, 5),
        axes=[2, 3],
        keep_aspect_ratio_policy="not_larger",
        symbolic=False,
    ),
    case("Reshape", (2, 3, 4), i64(0, -1)),
    case("Reshape", (2, 3, 4), i64(0, 0, 2, -1), symbolic=False),
    case("Reshape", (2, 3, 4), i64(-1)),
    case("Flatten", (2, 3, 4), axis=2),
    case("Flatten", (2, 3, 4), axis=0),
    case("Flatten", (2, 3, 4), axis=-1),
    case("Squeeze", (1, 3, 1), i64(0, -1), symbolic=False),
    case("Squeeze", (1, 3, 1), symbolic=False),
    case("Unsqueeze", (2, 3), i64(0, -1)),
    case("Transpose", (2, 3, 4)),
    case("Transpose", (2, 3, 4), perm=[1, 0, 2]),
    case("Concat", (2, 3), weights(2, 4), axis=-1),
    case("Split", (7, 2), num_outputs=3, outputs=3, axis=0),
    case("Split", (7, 2), i64(3, 4), outputs=2, axis=0),
    case("Slice", (5, 6), i64(1), i64(1000)),
    case("Slice", (5, 6), i64(-3, 0), i64(-1, 5), i64(1, 0), i64(1, 2)),
    case("Slice", (5, 6), i64(-1), i64(-(2**40)), i64(0), i64(-2)),
    case("Slice", (5, 6), i64(3), i64(1), i64(0)),
    case("Slice", (5, 6), i64(10), i64(0), i64(1), i64(-1)),
    case("Pad", (2, 3), i64(1, 0, 2, -1)),
    case("Pad", (2, 3), i64(1, 2), np.float32(1), i64(-1), mode="edge"),
    case("Gather", (5, 6), i64(0, -1, 2), axis=1),
    case("Gather", (5, 6), np.array([[1, 2], [3, 4]], np.int64)),
    case("GatherElements", (5, 6), np.zeros((2, 6), np.int64), axis=0),
    case("GatherND", (5, 6, 7), np.zeros((3, 2), np.int64)),
    case("GatherND", (5, 6, 7), np.zeros((5, 1), np.int64), batch_dims=1, symbolic=False),
    case("Expand", (3, 1), i64(2, 1, 4)),
    case("Tile", (3, 1), i64(2, 4)),
    case("Shape", (3, 1)),
    case("Shape", (3, 1, 5), start=1, end=-1),
    case("Size", (3, 2)),
    case("DepthToSpace", (1, 8, 2, 3), blocksize=2),
    case("SpaceToDepth", (1, 2, 4, 6), blocksize=2),
    case("Dropout", (2, 3), outputs=2),
]


def model_of(c: Case) -> onnx.ModelProto:
    constants = [
        None if a is None else numpy_helper.from_array(np.asarray(a), f"c{i}") for i, a in enumerate(c.constants)
    ]
    node = helper.make_node(
        c.op, ["x", *("" if a is None else a.name for a in constants)], [f"y{i}" for i in range(c.outputs)],
        "node", **c.attributes,
    )  # fmt: skip
    x = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(c.dtype)), c.shape)
    outputs = [onnx.ValueInfoProto(name=f"y{i}") for i in range(c.outputs)]
    graph = helper.make_graph([node], "g", [x], outputs, [a for a in constants if a is not None])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def run_peer(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def feed_of(c: Case) -> np.ndarray:
    values = np.random.default_rng(2).standard_normal(c.shape) * 3
    return np.asarray(values).astype(c.dtype)


@pytest.mark.parametrize("c", CASES, ids=str)
def test_types_are_those_of_the_peer(c: Case) -> None:
    model = model_of(c)
    expected = run_peer(model, {"x": feed_of(c)})
    graph = magicmind.parse(model)
    for info, array in zip(graph.outputs, expected, strict=True):
        assert (info.dtype, info.shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("c", [c for c in CASES if c.symbolic and c.shape], ids=str)
def test_symbolic_shapes_take_the_values_of_fixed_ones(c: Case) -> None:
    model = model_of(c)
    expected = run_peer(model, {"x": feed_of(c)})
    for axis, size in enumerate(c.shape):
        shape = tuple("s=1.." if i == axis else d for i, d in enumerate(c.shape))
        try:
            graph = magicmind.parse(model, input_shapes=[shape])
        except Error as error:
            assert isinstance(error, (magicmind.ShapeError, magicmind.UnsupportedOperatorError)), error
            continue
        for value, array in zip(graph.model.graph.outputs, expected, strict=True):
            t = type_of(value)
            assert t is not None
            assert tuple(evaluate(d, {"s": size}) for d in t.dims) == array.shape, (axis, t)


@pytest.mark.parametrize("c", [c for c in CASES if c.op not in ("Dropout", "LpPool")], ids=str)
def test_reference_agrees_with_the_peer(c: Case) -> None:
    model = model_of(c)
    feeds = {"x": feed_of(c)}
    expected = run_peer(model, feeds)
    found = run_graph(magicmind.parse(model).model, feeds)
    for array, (name, result) in zip(expected, found.items(), strict=True):
        assert result.shape == array.shape, name
        np.testing.assert_allclose(result, array, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("c", "text"),
    [
        (case("Conv", (1, 3, 8, 8), W), "3 and 4 differ"),
        (case("Conv", (1, 4, 8, 8), W, group=3), "group=3 does not divide 8"),
        (case("Conv", (1, 4, 8, 8), W, strides=[0, 1]), "'strides'"),
        (case("MatMul", (3, 4), weights(5, 6)), "4 and 5 differ"),
        (case("Add", (3, 4), weights(3)), "do not broadcast"),
        (case("Add", (3,), i64(1)), "different dtypes"),
        (case("Reshape", (3, 4), i64(5, -1)), "does not fit"),
        (case("Reshape", (3, 4), i64(5, 3)), "12 and 15 differ"),
        (case("Transpose", (3, 4), perm=[0, 0]), "perm=[0, 0]"),
        (case("Concat", (3, 4), weights(2, 5), axis=0), "4 and 5 differ"),
        (case("Gather", (3, 4), i64(7)), "lie outside axis 0"),
        (case("Softmax", (3, 4), axis=2), "axis 2 does not exist"),
        (case("Tile", (3, 4), i64(2)), "1 repeats for 2 axes"),
        (case("ScatterElements", (9,), i64(0, 2, 7), weights(2)), "updates against indices"),
        (case("ScatterElements", (2, 9), np.zeros((3, 1), np.int64), weights(3, 1), axis=1), "reach beyond axis 0"),
        (case("ScatterND", (9, 4), i64(0, 2).reshape(2, 1), weights(2, 3)), "updates against the places"),
        (case("GatherElements", (2, 9), np.zeros((3, 1), np.int64), axis=1), "reach beyond axis 0"),
        (case("GridSample", (3, 2, 4, 4), weights(2, 3, 3, 2)), "batches of the grid and the image"),
        (case("RoiAlign", (3, 2, 4, 4), weights(2, 4), i64(0, 1, 2)), "rois against one batch index"),
        (case("GRU", (3, 8, 4), weights(1, 15, 4), weights(1, 15, 5), None, np.full(2, 3, np.int32), hidden_size=5),
         "sequence_lens against the batch"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_refused_naming_the_node(c: Case, text: str) -> None:
    with pytest.raises(Error) as caught:
        magicmind.parse(model_of(c))
    assert text in str(caught.value)
    assert "node (" in str(caught.value) or "(model of" in str(caught.value)
