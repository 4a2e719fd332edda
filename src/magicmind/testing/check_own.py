"""One operator through its lowering, against its own reference: for operators and types that ONNX does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.convenience

import magicmind.ops  # noqa: F401  (fills the registry)
from magicmind.ir.dims import parse
from magicmind.ir.types import TensorType, set_type
from magicmind.ops.reference import run_graph
from magicmind.passes.infer_types import infer_types
from magicmind.testing.check_lowering import make_blocked
from magicmind.testing.run_plan import run_plan


def check_own(
    op: str,
    inputs: Sequence[Any],
    shapes: Mapping[int, Sequence[int | str]],
    *,
    target: str = "native",
    blocked: bool = False,
    tolerance: float = 0.0,
    **attributes: Any,
) -> list[str]:
    """Asserts that the lowered `op` ("MatMul" or "magicmind.MatMul") gives what its reference says.

    inputs: arrays fed at run time where `shapes` has their number (with the shape to declare), else constants; None:
    absent. blocked: input 0 and the output lie in blocked memory. Returns the kernels called.
    """
    model = _model(op, inputs, shapes, attributes)
    infer_types(model)
    feeds = {f"x{i}": np.asarray(inputs[i]) for i in shapes}
    want = run_graph(model, feeds)["y0"]
    if blocked:
        make_blocked(model)
        infer_types(model)
    got, kernels = run_plan(model, feeds, target, nthreads=2)
    (result,) = got.values()
    assert (result.dtype, result.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(result, want, rtol=tolerance, atol=tolerance, err_msg=f"{target} {kernels}")
    return kernels


def _model(
    op: str, inputs: Sequence[Any], shapes: Mapping[int, Sequence[int | str]], attributes: Mapping[str, Any]
) -> ir.Model:
    values = [None if x is None else ir.Value(name=f"x{i}") for i, x in enumerate(inputs)]
    fed: list[ir.Value] = []
    constants: list[ir.Value] = []
    for i, (value, array) in enumerate(zip(values, inputs, strict=True)):
        if value is None:
            continue
        shape = tuple(parse(str(d)) for d in shapes.get(i, np.shape(array)))
        set_type(value, TensorType(ir.DataType.from_numpy(array.dtype), shape))
        if i not in shapes:
            value.const_value = ir.tensor(array, name=value.name)
        (fed if i in shapes else constants).append(value)
    domain, _, name = op.rpartition(".")
    node = ir.Node(domain, name, values, ir.convenience.convert_attributes(attributes), name="tested")
    node.outputs[0].name = "y0"
    opsets = {"": 22, "magicmind": 1}
    graph = ir.Graph(fed, node.outputs, nodes=[node], initializers=constants, opset_imports=opsets)
    return ir.Model(graph, ir_version=10)
