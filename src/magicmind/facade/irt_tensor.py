"""Run-time tensors by the names of the C++ interface, and the helpers that go with them."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING, Any

from magicmind.facade.dims import Dims
from magicmind.facade.enums import DataType, Layout, TensorLocation, get_numpy_dtype_by_datatype
from magicmind.facade.status import Refused, Status, or_none

if TYPE_CHECKING:
    import numpy as np


class RuntimeNames:
    """What `Tensor` has by two names."""

    name: str
    location: TensorLocation
    _dtype: np.dtype[Any]

    if TYPE_CHECKING:

        @property
        def shape(self) -> tuple[int, ...]:
            """The sizes, -1 where one is open."""

        def data_address(self) -> int:
            """The address of the first byte."""

        def set_data_address(self, address: int, dims: Iterable[int] | None = None) -> Status:
            """Uses memory of the program's own."""

    def get_name(self) -> str:
        """The name of the input or output; empty for a free tensor."""
        return self.name

    def get_dimensions(self) -> Dims:
        """The sizes, -1 where one is open."""
        return Dims(self.shape)

    def get_size(self) -> int:
        """Bytes; 0 while a size is open."""
        return 0 if -1 in self.shape else prod(self.shape) * self._dtype.itemsize

    def get_layout(self) -> Layout:
        """How the axes are ordered: those of a model have no names."""
        return Layout.NONE

    def get_memory_location(self) -> TensorLocation:
        """Where a program said that it is; the memory is the host's."""
        return self.location

    def get_mutable_data(self) -> int:
        """The address of the first byte; 0 where there is no memory."""
        return self.data_address()

    def set_data(self, address: int) -> Status:
        """Uses memory of the program's own from an address on, for the present shape."""
        return self.set_data_address(address)


@or_none
def find_irt_tensor_by_name(tensors: Iterable[Any], name: str) -> Any:
    """The first tensor of a name.  None where there is none."""
    return next((tensor for tensor in tensors if tensor.name == name), None)


@or_none
def data_type_size(data_type: DataType) -> int:
    """Bytes of an element."""
    return int(get_numpy_dtype_by_datatype(data_type).itemsize)


_SHORT = {DataType.FLOAT16: "HALF", DataType.FLOAT32: "FLOAT"}


@or_none
def type_enum_to_string(data_type: DataType) -> str:
    """The name on command lines: FLOAT, HALF, INT8."""
    if not isinstance(data_type, DataType):
        raise Refused(f"{data_type!r:.60} is no DataType")
    return _SHORT.get(data_type, data_type.value)


@or_none
def type_string_to_enum(name: str) -> DataType:
    """The type by its name on command lines, or in the API."""
    if not isinstance(name, str) or name not in DataType.__members__:
        raise Refused(f"{name!r:.60} is no type", hint=f"known: {', '.join(DataType.__members__)}")
    return DataType[name]


@or_none
def layout_enum_to_string(layout: Layout) -> str:
    """The name: NHWC, ARRAY for none."""
    if not isinstance(layout, Layout):
        raise Refused(f"{layout!r:.60} is no Layout")
    return "ARRAY" if layout is Layout.NONE else layout.value
