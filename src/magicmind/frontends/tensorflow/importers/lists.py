"""TensorArray (old) and TensorList (new): both are `items.TensorList` values here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.items import Item, TensorList
from magicmind.ops.emitter import Value


def _reserved(c: Call, size: Value, dtype: onnx_ir.DataType, element: Sequence[int] | None) -> TensorList:
    """A new list; dense at once where the shape of its elements is known."""
    made = TensorList(dtype, size)
    if element is None or min(element, default=0) < 0:
        return made
    return made.dense(c.net, tuple(element))


def _position(c: Call, i: int) -> Value:
    return c.net.reshape(c.int64(c.value(i)), 1, 1)


def _set(c: Call, items: TensorList, position: Value, value: Value, grows: bool) -> TensorList:
    net = c.net
    rows = items.dense(net, net.shape(value)).tensor()
    if grows:
        rows = _grown(c, rows, net.op("Add", net.reshape(position, 1), net.ints(1)))
    rows = net.op("ScatterND", rows, position, net.unsqueeze(value, 0))
    return TensorList(items.dtype, items.size, rows)


def _grown(c: Call, rows: Value, size: Value) -> Value:
    """The rows, with zeros behind them if they are fewer than `size` (int64 [1])."""
    net, none = c.net, [0] * (c.net.rank(rows) - 1)
    missing = net.op("Max", net.op("Sub", size, net.dim(rows, 0)), net.ints(0))
    return net.op("Pad", rows, net.sizes(0, *none, missing, *none), net.scalar(0, rows))


def _from(value: Value, net_dtype: onnx_ir.DataType) -> TensorList:
    return TensorList(net_dtype, None, value)


# ----------------------------------------------------------------------------------------------------------- old arrays


@importer("TensorArrayV3")
def tensor_array(c: Call) -> list[Item]:
    """A list of tensors; what its other nodes pass on as `flow` is the list as it then is."""
    size = c.vector(c.x)
    found = _reserved(c, size, c.node.dtype("dtype"), c.node.shape("element_shape"))
    found = replace(found, grows=bool(c.attr("dynamic_size", False)))
    return [found, found]


@importer("TensorArrayWriteV3")
def array_write(c: Call) -> Item:
    """ScatterND of one row, behind the end too where the array may grow."""
    return _set(c, c.tensor_list(3), _position(c, 1), c.value(2), c.tensor_list(0).grows)


@importer("TensorArrayReadV3")
def array_read(c: Call) -> Value:
    """Gather of one row."""
    return c.net.op("Gather", c.tensor_list(2).tensor(), c.int64(c.value(1)), axis=0)


@importer("TensorArrayGatherV3")
def array_gather(c: Call) -> Value:
    """Gather; of all rows in order the list itself."""
    return _rows(c, c.tensor_list(2), 1)


def _rows(c: Call, items: TensorList, i: int) -> Value:
    """The rows that input `i` names."""
    wanted, data = c.known(c.value(i)), items.tensor()
    if wanted is not None and wanted.tolist() == list(range(len(wanted))) and c.net.shape(data)[0] == len(wanted):
        return data
    return c.net.op("Gather", data, c.int64(c.value(i)), axis=0)


@importer("TensorArrayScatterV3")
def array_scatter(c: Call) -> Item:
    """The rows of a tensor, put to the positions named."""
    return _scattered(c, c.tensor_list(3), c.value(1), c.value(2))


def _scattered(c: Call, items: TensorList, positions: Value, rows: Value) -> TensorList:
    net = c.net
    if items.data is None:  # it is filled for the first time, and from the front in all networks
        wanted = c.known(positions)
        if wanted is None or wanted.tolist() == list(range(len(wanted))):
            return _from(rows, items.dtype)
    full = items.dense(net, net.shape(rows)[1:])
    data = net.op("ScatterND", full.tensor(), net.unsqueeze(c.int64(positions), 1), rows)
    return TensorList(items.dtype, items.size, data)


@importer("TensorArraySizeV3", "TensorListLength")
def length(c: Call) -> Value:
    """The number of tensors."""
    return c.net.cast(
        c.net.reshape(c.tensor_list(0 if c.node.op == "TensorListLength" else 1).length(c.net)), onnx_ir.DataType.INT32
    )


@importer("TensorArrayConcatV3")
def array_concat(c: Call) -> list[Value]:
    """All tensors one after the other."""
    return _joined(c, c.tensor_list(1))


def _joined(c: Call, items: TensorList) -> list[Value]:
    net, data = c.net, items.tensor()
    sizes = [net.size(d) if not isinstance(d, int) else d for d in net.shape(data)[2:]]
    lengths = net.op("Expand", net.dim(data, 1), net.dim(data, 0))
    return [net.reshape(data, -1, *sizes), lengths]


@importer("TensorArraySplitV3")
def array_split(c: Call) -> Item:
    """Equal parts of a tensor."""
    lengths = c.ints(2, "the lengths")
    if len(set(lengths)) > 1:
        raise c.unsupported("a list of tensors of several lengths")
    value = c.value(1)
    rest = [c.net.size(d) if not isinstance(d, int) else d for d in c.net.shape(value)[1:]]
    return _from(c.net.reshape(value, len(lengths), lengths[0] if lengths else 0, *rest), c.tensor_list(0).dtype)


@importer("TensorArrayCloseV3")
def close(c: Call) -> list[Item]:
    """Nothing."""
    return []


# ------------------------------------------------------------------------------------------------------------ new lists


def _element(c: Call, i: int) -> list[int] | None:
    """The shape of elements that input `i` gives; None unless it is known whole."""
    found = c.dims(i)
    if found is None or c.rank(i) == 0 or not all(isinstance(d, int) and d >= 0 for d in found):
        return None
    return [d for d in found if isinstance(d, int)]


@importer("TensorListReserve")
def reserve(c: Call) -> Item:
    """A list of a given size."""
    return _reserved(c, c.vector(c.value(1)), c.node.dtype("element_dtype"), _element(c, 0))


@importer("EmptyTensorList")
def empty(c: Call) -> Item:
    """A list of size 0, to be pushed to."""
    return _reserved(c, c.net.ints(0), c.node.dtype("element_dtype"), _element(c, 0))


@importer("TensorListFromTensor")
def from_tensor(c: Call) -> Item:
    """The rows of a tensor."""
    return _from(c.x, c.net.type(c.x).dtype)


@importer("TensorListStack")
def stack(c: Call) -> Value:
    """All tensors as rows."""
    return c.tensor_list(0).tensor()


@importer("TensorListGetItem")
def get_item(c: Call) -> Value:
    """Gather of one row."""
    return c.net.op("Gather", c.tensor_list(0).tensor(), c.int64(c.value(1)), axis=0)


@importer("TensorListSetItem")
def set_item(c: Call) -> Item:
    """ScatterND of one row, behind the end too where the file says so."""
    grows = bool(c.attr("resize_if_index_out_of_bounds", False))
    return _set(c, c.tensor_list(0), _position(c, 1), c.value(2), grows)


@importer("TensorListPushBack")
def push_back(c: Call) -> Item:
    """Concat of one more row."""
    net, items, value = c.net, c.tensor_list(0), c.value(1)
    full = items.dense(net, net.shape(value))
    return _from(net.op("Concat", full.tensor(), net.unsqueeze(value, 0), axis=0), items.dtype)


@importer("TensorListPopBack")
def pop_back(c: Call) -> list[Item]:
    """The list without its last row, and that row."""
    net, items = c.net, c.tensor_list(0)
    data = items.tensor()
    shorter = net.op("Slice", data, net.ints(0), net.ints(-1), net.ints(0))
    return [_from(shorter, items.dtype), net.op("Gather", data, net.const(-1, np.int64), axis=0)]


@importer("TensorListGather")
def list_gather(c: Call) -> Value:
    """Gather."""
    return _rows(c, c.tensor_list(0), 1)


@importer("TensorListScatter", "TensorListScatterV2")
def list_scatter(c: Call) -> Item:
    """A list of rows put to the positions named."""
    t = c.net.type(c.x)
    size = c.net.dim(c.x, 0)
    return _scattered(c, TensorList(t.dtype, size), c.value(1), c.x)


@importer("TensorListScatterIntoExistingList")
def scatter_into(c: Call) -> Item:
    """ScatterND of rows."""
    return _scattered(c, c.tensor_list(0), c.value(2), c.value(1))


@importer("TensorListConcat", "TensorListConcatV2")
def list_concat(c: Call) -> list[Value]:
    """All tensors one after the other."""
    return _joined(c, c.tensor_list(0))


@importer("TensorListSplit")
def list_split(c: Call) -> Item:
    """Equal parts of a tensor."""
    lengths = c.ints(2, "the lengths")
    if len(set(lengths)) > 1:
        raise c.unsupported("a list of tensors of several lengths")
    rest = [c.net.size(d) if not isinstance(d, int) else d for d in c.shape()[1:]]
    return _from(c.net.reshape(c.x, len(lengths), lengths[0] if lengths else 0, *rest), c.net.type(c.x).dtype)


@importer("TensorListElementShape")
def element_shape(c: Call) -> Value:
    """The shape of the elements."""
    shape = c.net.op("Shape", c.tensor_list(0).tensor(), start=1)
    return c.as_type(shape, "shape_type", onnx_ir.DataType.INT32)
