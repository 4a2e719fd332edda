"""Every operator with a type rule, alone in a graph: built, run and compared with onnxruntime or onnx's evaluator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from netbuilder import Array, Net, check_outputs, random_feeds, reference
from onnx.reference import ReferenceEvaluator

import magicmind
import magicmind.ops
from magicmind.ir.scalar_ops import SCALAR_OPS
from magicmind.ops.registry import REGISTRY

FLOAT = onnx.TensorProto.FLOAT


@dataclass
class Case:
    """One node. An input is a shape (fed at run time: normal floats) or an array (a constant); None is absent."""

    op: str
    inputs: list[Any] = field(default_factory=lambda: [(2, 19, 5)])
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    kind: Any = np.float32
    positive: bool = False
    """Feed values in 0.1..0.9: inside the domain of the function."""
    oracle: str = "onnxruntime"
    opset: int = 23

    def __str__(self) -> str:
        return self.op

    def model(self) -> onnx.ModelProto:
        net = Net(opset=self.opset)
        names = [self._input(net, i, x) for i, x in enumerate(self.inputs)]
        return net.model(*net.ops(self.op, self.outputs, *names, **self.attributes))

    def _input(self, net: Net, i: int, x: Any) -> str:
        if x is None:
            return ""
        return net.input(f"x{i}", x, self.kind) if isinstance(x, tuple) else net.const(x)

    def feeds(self, model: onnx.ModelProto) -> dict[str, Array]:
        feeds = random_feeds(model)
        if self.positive:
            rng = np.random.default_rng(5)
            return {name: rng.uniform(0.1, 0.9, x.shape).astype(x.dtype) for name, x in feeds.items()}
        return {name: x if x.dtype.kind == "f" else _integers(x) for name, x in feeds.items()}


def _integers(x: Array) -> Array:
    values = np.random.default_rng(5).integers(0, 2 if x.dtype == np.bool_ else 9, x.shape)
    return values.astype(x.dtype)


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


RNG = np.random.default_rng(1)
WEIGHTS = RNG.standard_normal((20, 19, 3, 3)).astype(np.float32)
MAP = (2, 19, 7, 6)  # more than one block of channels, the second one partly filled
WINDOW = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}
ROW = RNG.standard_normal(5).astype(np.float32)

UNARY = [
    "Abs", "Asinh", "Atan", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Mish", "Neg", "Relu", "Round", "Selu", "Shrink", "Sigmoid",
    "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh", "ThresholdedRelu",
]  # fmt: skip
POSITIVE = ["Acos", "Asin", "Atanh", "Log", "Reciprocal", "Sqrt"]
BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]
REDUCTIONS = ["L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]

CASES = [
    *(Case(op) for op in UNARY),
    *(Case(op, positive=True) for op in POSITIVE),
    Case("Acosh", [(3, 4)], oracle="shifted"),
    *(Case(op, [(2, 19, 5), (19, 1)]) for op in BINARY),
    *(Case(op, [(2, 5), (5,)], kind=np.bool_) for op in ("And", "Or", "Xor")),
    *(Case(op, [(2, 5), (5,)], kind=np.int32) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal")),
    *(Case(f"Reduce{r}", [(2, 19, 5), i64(1)], {"keepdims": 0}) for r in REDUCTIONS),
    Case("ArgMax", attributes={"axis": 1}),
    Case("ArgMin", attributes={"axis": -1, "keepdims": 0}),
    Case("AveragePool", [MAP], {**WINDOW, "count_include_pad": 1}),
    Case("BatchNormalization", [(2, 3, 5), f32(1, 2, 3), f32(0, 1, -1), f32(0.5, 0, 1), f32(1, 2, 0.5)]),
    Case("BitShift", [(2, 5), np.array([1], np.uint32)], {"direction": "LEFT"}, kind=np.uint32),
    Case("BitwiseNot", [(2, 5)], kind=np.int32),
    Case("Cast", attributes={"to": onnx.TensorProto.INT32}),
    Case("CastLike", [(2, 19), i64(1)]),
    Case("Clip", [(2, 19), np.float32(-0.3), np.float32(0.4)]),
    Case("Concat", [(2, 3, 5), (2, 19, 5)], {"axis": 1}),
    Case("Constant", [], {"value_floats": [1.0, 2.5]}),
    Case("ConstantOfShape", [i64(2, 3)]),
    Case("Conv", [MAP, WEIGHTS, RNG.standard_normal(20).astype(np.float32)], {"pads": [1, 1, 1, 1]}),
    Case("ConvTranspose", [(1, 20, 5, 4), WEIGHTS], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("DepthToSpace", [(1, 36, 3, 4)], {"blocksize": 3}),
    Case("Dropout"),
    Case("Expand", [(19, 1), i64(2, 19, 3)]),
    Case("Flatten", attributes={"axis": 2}),
    Case("Gather", [(2, 19, 5), i64(3, -1, 0)], {"axis": 1}),
    Case("GatherElements", [(2, 5), np.array([[0, 1], [4, -1]])], {"axis": 1}),
    Case("GatherND", [(2, 5, 3), np.array([[0, 1], [1, -1]])]),
    Case("Gemm", [(5, 7), (7, 19), f32(*range(19))], {"alpha": 0.5, "beta": 2.0}),
    Case("GlobalAveragePool", [MAP]),
    Case("GlobalLpPool", [MAP], opset=21),
    Case("GlobalMaxPool", [MAP]),
    Case("GroupNormalization", [(2, 6, 5), f32(*range(6)), f32(*range(6))], {"num_groups": 3}, oracle="onnx"),
    Case("Hardmax"),
    Case("InstanceNormalization", [(2, 3, 5), f32(1, 2, 3), f32(0, 1, -1)]),
    Case("LRN", [MAP], {"size": 5}),
    Case("LayerNormalization", [(2, 19, 5), ROW, ROW]),
    Case("LogSoftmax"),
    Case("LpNormalization"),
    Case("LpPool", [MAP], {"kernel_shape": [2, 2]}),
    Case("MatMul", [(2, 19, 5), (5, 17)]),
    Case("MaxPool", [MAP], WINDOW),
    Case("MeanVarianceNormalization", [MAP]),
    Case("Mod", [(2, 5), i64(3)], kind=np.int64),
    Case("Not", kind=np.bool_),
    Case("PRelu", [(2, 19, 5), RNG.standard_normal((19, 1)).astype(np.float32)]),
    Case("Pad", [(2, 19, 5), i64(0, 1, 2, 1, 0, 3), np.float32(0.5)]),
    Case("Pow", [(2, 19), np.float32(2)]),
    Case("RMSNormalization", [(2, 19, 5), ROW], oracle="onnx"),
    Case("Range", [np.int64(2), np.int64(11), np.int64(3)]),
    Case("ReduceLogSum", [(2, 19, 5), i64(0, 2)], positive=True),
    Case("Reshape", [(2, 19, 5), i64(5, -1)]),
    Case("Resize", [MAP, None, None, i64(2, 19, 10, 4)], {"mode": "cubic"}),
    Case("Shape"),
    Case("Size"),
    Case("Slice", [(2, 19, 5), i64(15, 0), i64(2, 5), i64(1, 2), i64(-3, 2)]),
    Case("Softmax", attributes={"axis": 1}),
    Case("SpaceToDepth", [(1, 5, 6, 4)], {"blocksize": 2}),
    Case("Split", [(2, 19, 5), i64(1, 16, 2)], {"axis": 1}, outputs=3),
    Case("Squeeze", [(2, 1, 5), i64(1)]),
    Case("Swish", oracle="onnx", opset=24),
    Case("Tile", [(2, 3), i64(3, 2)]),
    Case("Transpose", attributes={"perm": [2, 0, 1]}),
    Case("Unsqueeze", [(2, 5), i64(0, 3)]),
    Case("Where", [np.array([True, False, True, False, True]), (2, 5), (5,)]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_operator(case: Case) -> None:
    model = case.model()
    feeds = case.feeds(model)
    if case.oracle == "shifted":
        feeds = {name: np.abs(x) + 1.5 for name, x in feeds.items()}
    if case.oracle == "onnx":
        names = [output.name for output in model.graph.output]
        want = dict(zip(names, ReferenceEvaluator(model).run(None, feeds), strict=True))
    else:
        want = reference(model, feeds)
    with magicmind.build(magicmind.parse(model)) as built, built.session(threads=2) as session:
        check_outputs(session.run(feeds), want)


# Beside their lowering, with several cases each.
TESTED_ELSEWHERE = {
    "BitCast",
    "CumProd",
    "CumSum",
    "ScatterElements",
    "ScatterND",
    "DequantizeLinear",  # ops/quantise_test.py, passes/quantised_test.py
    "QuantizeLinear",
    "TopK",
    "GridSample",
    "RoiAlign",
    "GRU",
    "LSTM",
    "RNN",
}


def test_every_operator_has_a_case() -> None:
    known = {
        name
        for (domain, name), op in REGISTRY.items()
        if domain == "" and op.infer_rule is not None and (op.lower_rule or name in SCALAR_OPS or not op.host_name)
    }
    assert known - TESTED_ELSEWHERE == {case.op for case in CASES}
