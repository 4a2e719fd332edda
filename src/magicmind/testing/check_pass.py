"""Tests of passes: a model as ONNX text before and after, compared up to names."""

from __future__ import annotations

import re

import onnx_ir

from magicmind.debug import graph_text
from magicmind.passes.compare import compare_outputs
from magicmind.passes.infer_types import infer_types
from magicmind.passes.infra import Pass
from magicmind.passes.remove_dead import RemoveDead
from magicmind.passes.verify import verify

__all__ = ["check_declined", "check_pass", "model_text", "parse_model"]

HEADER = '<ir_version: 10, opset_import: ["" : 22, "magicmind" : 1]>\n'


def parse_model(text: str) -> onnx_ir.Model:
    """`(float[2] x) => (float[2] y) { y = Relu(x) }` as a model with types; unnamed nodes get names."""
    model = onnx_ir.from_onnx_text(HEADER + "g " + text)
    for i, node in enumerate(model.graph.all_nodes()):
        node.name = node.name or f"{node.op_type.lower()}{i}"
    infer_types(model)
    return model


def model_text(model: onnx_ir.Model) -> str:
    """Canonical text: attributes sorted, values named by order, metadata left out."""
    copy = model.clone()
    names: dict[onnx_ir.Value, str] = {}
    for value in copy.graph.inputs:
        names[value] = f"in{len(names)}"
    lines = [", ".join(f"{names[v]}: {_type(v)}" for v in copy.graph.inputs)]
    for node in copy.graph:
        for read in node.inputs:
            if read is not None and read not in names:
                names[read] = _constant(read)
        inputs = ", ".join("_" if v is None else names[v] for v in node.inputs)
        for output in node.outputs:
            names[output] = f"v{len(lines)}.{output.index()}"
        outputs = ", ".join(f"{names[v]}: {_type(v)}" for v in node.outputs)
        attributes = ", ".join(f"{name}={_attribute(attr)}" for name, attr in sorted(node.attributes.items()))
        lines.append(f"{outputs} = {node.domain}.{node.op_type}<{attributes}>({inputs})")
    lines.append("=> " + ", ".join(names[v] for v in copy.graph.outputs))
    return "\n".join(lines)


def _type(value: onnx_ir.Value) -> str:
    return f"{value.dtype.name if value.dtype is not None else '?'}{value.shape}"


def _constant(value: onnx_ir.Value) -> str:
    tensor = value.const_value
    assert tensor is not None, value
    numbers = ", ".join(f"{x:.6g}" for x in tensor.numpy().reshape(-1)[:16].tolist())
    return f"{tensor.dtype.name}{list(tensor.numpy().shape)}{{{numbers}}}"


def _attribute(attr: onnx_ir.Attr) -> str:
    value = attr.value
    return re.sub(r"\s+", " ", str(list(value) if isinstance(value, (list, tuple)) else value))


def check_pass(pass_: Pass, before: str, after: str, *, numbers: bool = True) -> onnx_ir.Model:
    """Asserts that `pass_` turns one text into the other, honestly, finally, and without changing numbers.

    Also: the graph stays well formed, output names stay, and a second run changes nothing. Returns the result.
    """
    model, source, expected = parse_model(before), parse_model(before), parse_model(after)
    output_names = [value.name for value in model.graph.outputs]
    assert pass_.call(model), f"{pass_.name} did nothing: {getattr(pass_, 'declined', '')}"
    assert not verify(model), verify(model)
    assert [value.name for value in model.graph.outputs] == output_names, "an output lost its name"
    if numbers:
        compare_outputs(source, model)
    RemoveDead().call(model)  # passes leave what they made needless to that one
    found, wanted = model_text(model), model_text(expected)
    assert found == wanted, f"found:\n{found}\n\nexpected:\n{wanted}"
    assert not pass_.call(model), f"{pass_.name} is not done after one run"
    return model


def check_declined(pass_: Pass, text: str, reason: str = "") -> None:
    """Asserts that `pass_` leaves the model alone, and says why where it keeps reasons."""
    model = parse_model(text)
    before = graph_text(model)
    assert not pass_.call(model), f"{pass_.name} changed:\n{model_text(model)}"
    assert graph_text(model) == before
    declined: dict[str, str] = getattr(pass_, "declined", {})
    if reason:
        assert any(reason in found for found in declined.values()), f"reasons: {declined}"
