"""What a quantised graph is written as for other engines."""

from __future__ import annotations

import onnx_ir

from magicmind.quant.export import qdq_model


def test_every_node_has_a_name_of_its_own() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
        g (float[2] x) => (float[2] y) { a = Relu(x)  b = Neg(a)  c = Abs(b)  y = Add(b, c) }"""
    model = onnx_ir.from_onnx_text(text)
    for node in model.graph:
        node.name = "split"
    assert [node.name for node in qdq_model(model).graph] == ["split", "split.1", "split.2", "split.3"]
