"""Tables from words or numbers to others, whose contents `freeze.py` writes beside the nodes that read them."""

from __future__ import annotations

import onnx_ir

from magicmind.frontends.tensorflow.call import Array, Call, importer
from magicmind.ops.emitter import Value

_TABLE = 4  # inputs: keys, values, what is looked up, what is found for all else


@importer("LookupTableFindV2", host=True)
def find(c: Call) -> Value:
    """LabelEncoder."""
    if len(c.inputs) != _TABLE:
        raise c.unsupported("the contents of the table are not in the graph; give the SavedModel or the Keras file")
    keys, values, default = (c.const(i, what) for i, what in ((0, "the keys"), (1, "the values"), (3, "the default")))
    tensors = {"keys_tensor": keys, "values_tensor": values, "default_tensor": default.reshape(1)}
    given = {name: _tensor(array) for name, array in tensors.items()}
    return c.net.op("LabelEncoder", c.value(2), domain="ai.onnx.ml", **given)


def _tensor(array: Array) -> onnx_ir.TensorProtocol:
    if array.dtype != object:
        return onnx_ir.Tensor(array)
    return onnx_ir.StringTensor(array.reshape(-1).tolist(), shape=onnx_ir.Shape(array.shape))
