"""One operator through its lowering, against onnxruntime or onnx's reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx.reference import ReferenceEvaluator

import magicmind.ops  # noqa: F401  (fills the registry)
from magicmind.passes.infer_types import infer_types
from magicmind.passes.pipeline import lower_layout, simplify
from magicmind.testing.run_plan import run_plan


def check_lowering(
    op: str,
    inputs: Sequence[Any],
    attributes: Mapping[str, Any] | None = None,
    *,
    shapes: Mapping[int, Sequence[int | str]] | None = None,
    blocked: bool = False,
    outputs: int = 1,
    opset: int = 22,
    targets: Sequence[str] = ("native",),
    rtol: float = 0.0,
    want: Sequence[Any] | None = None,
    oracle: str = "onnxruntime",
    domain: str = "",
    passes: bool = False,
) -> list[str]:
    """Asserts that the lowered `op` gives what the oracle says, and returns the kernels called on the last target.

    inputs: arrays fed at run time where `shapes` has their number (with the shape to declare), else constants; None:
    absent. blocked: input 0 and all outputs lie in blocked memory. want: the expected outputs, else
    those of `oracle`: onnxruntime, or onnx (its reference evaluator). passes: run all passes before, as a build does.
    """
    shapes = {0: np.shape(inputs[0])} if shapes is None else shapes
    proto = _model(op, inputs, attributes or {}, shapes, outputs, opset, domain)
    feeds = {f"x{i}": np.asarray(inputs[i]) for i in shapes}
    expected = _expected(proto, feeds, oracle) if want is None else want
    kernels: list[str] = []
    for target in targets:
        model = ir.from_proto(proto)
        if blocked:
            make_blocked(model)
        infer_types(model)
        if passes:
            simplify(model)
            lower_layout(model)
        got, kernels = run_plan(model, feeds, target, nthreads=2)
        for name, reference in zip(got, expected, strict=True):
            assert got[name].shape == reference.shape
            np.testing.assert_allclose(got[name], reference, rtol=rtol, atol=rtol, err_msg=f"{target} {kernels}")
    return kernels


def _expected(proto: onnx.ModelProto, feeds: dict[str, Any], oracle: str) -> Sequence[Any]:
    if oracle == "onnx":
        return list(ReferenceEvaluator(proto).run(None, feeds))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def _model(
    op: str, inputs: Sequence[Any], attributes: Mapping[str, Any], shapes: Mapping[int, Sequence[int | str]],
    outputs: int, opset: int, domain: str,
) -> onnx.ModelProto:  # fmt: skip
    helper = onnx.helper
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], name="tested", domain=domain, **attributes)
    fed = [
        helper.make_tensor_value_info(
            f"x{i}", helper.np_dtype_to_tensor_dtype(np.asarray(inputs[i]).dtype), list(shape)
        )
        for i, shape in shapes.items()
    ]
    constants = [
        onnx.numpy_helper.from_array(np.asarray(x), f"x{i}")
        for i, x in enumerate(inputs)
        if x is not None and i not in shapes
    ]
    results = [onnx.ValueInfoProto(name=name) for name in node.output]
    graph = helper.make_graph([node], "g", fed, results, constants)
    imports = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def make_blocked(model: ir.Model) -> None:
    """x0 -> ToBlocked -> the node -> ToPlain -> y."""
    (node,) = list(model.graph)
    model.opset_imports["magicmind"] = 1
    before = ir.Node("magicmind", "ToBlocked", [node.inputs[0]], name="before")
    before.outputs[0].name, before.outputs[0].meta["layout"] = "blocked_in", "blocked"
    node.replace_input_with(0, before.outputs[0])
    model.graph.insert_before(node, before)
    for i, output in enumerate(list(model.graph.outputs)):
        name, output.name = output.name, f"blocked_out{i}"
        output.meta["layout"] = "blocked"
        after = ir.Node("magicmind", "ToPlain", [output], name=f"after{i}")
        after.outputs[0].name = name
        model.graph.append(after)
        model.graph.outputs[i] = after.outputs[0]
