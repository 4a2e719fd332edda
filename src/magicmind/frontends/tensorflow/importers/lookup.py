"""Tables from words or numbers to others, whose contents `freeze.py` writes into the graph."""

from __future__ import annotations

import onnx_ir

from magicmind.frontends.tensorflow.call import Array, Call, importer
from magicmind.frontends.tensorflow.items import Item, Table
from magicmind.ops.emitter import Value

TABLE = "MagicMindTable"
"""The operator by which `freeze.py` writes what a table holds: its inputs are keys and values."""


@importer(TABLE)
def table(c: Call) -> Item:
    """A table of constants."""
    return Table(c.const(0, "the keys").reshape(-1), c.const(1, "the values").reshape(-1))


@importer("LookupTableFindV2", host=True)
def find(c: Call) -> Value:
    """LabelEncoder."""
    known, default = c.table(0), c.const(2, "the default").reshape(1)
    tensors = {"keys_tensor": known.keys, "values_tensor": known.values, "default_tensor": default}
    given = {name: _tensor(array) for name, array in tensors.items()}
    return c.net.op("LabelEncoder", c.value(1), domain="ai.onnx.ml", **given)


def _tensor(array: Array) -> onnx_ir.TensorProtocol:
    if array.dtype != object:
        return onnx_ir.Tensor(array)
    return onnx_ir.StringTensor(array.reshape(-1).tolist(), shape=onnx_ir.Shape(array.shape))
