"""Run-time tensors: numpy arrays with the methods, and the addresses, that programs use."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from magicmind.facade.device import Device
from magicmind.facade.dims import Dims, checked
from magicmind.facade.enums import DataType, TensorLocation, get_datatype_by_numpy, get_numpy_dtype_by_datatype
from magicmind.facade.irt_tensor import RuntimeNames
from magicmind.facade.status import Code, Refused, Status, guarded, or_none

Array = np.ndarray[Any, np.dtype[Any]]

_FIRST_PAGE = 4096  # no address of data lies below


class Tensor(RuntimeNames):
    """Memory of a type and a shape. `dims` of a model's inputs have -1 where any size may come."""

    def __init__(
        self,
        shape: Iterable[int] = (),
        dtype: DataType = DataType.FLOAT32,
        location: TensorLocation = TensorLocation.kHost,
        *,
        name: str = "",
    ) -> None:
        self.name = name
        self.location = location
        dims = Dims(shape)
        self.dims: tuple[int, ...] = tuple(dims)
        self.array: Array | None = None
        self.is_filled = False
        self.is_fixed = True  # results are written into the memory it has
        self.refusal = ""  # why the last array was not taken
        self._problem = dims.problem
        try:
            self._dtype = get_numpy_dtype_by_datatype(dtype)
        except TypeError as error:  # said when it is used: a constructor has no Status
            self._dtype, self._problem = np.dtype(np.float32), str(error)
        self._capacity: int | None = None  # bytes at an address that a program gave

    @classmethod
    def of_model(cls, name: str, dtype: np.dtype[Any], dims: tuple[int, ...], array: Array | None = None) -> Tensor:
        """An input or output of a model; its memory may be replaced by results of another size."""
        tensor = cls.__new__(cls)
        tensor.name, tensor.location, tensor.dims = name, TensorLocation.kHost, dims
        tensor.array, tensor.is_filled, tensor.is_fixed = array, array is not None, False
        tensor._dtype, tensor._capacity, tensor._problem, tensor.refusal = dtype, None, "", ""
        return tensor

    # --------------------------------------------------------------------------------------------------------- data

    @guarded
    def from_numpy(self, array: Any) -> None:
        """Copies an array, its elements converted by value; sizes that are open become the array's.

        An array that is refused leaves no data: a program that does not look at the Status would run on the last one's.
        """
        try:
            self._copy(array)
        except Exception as error:
            self.is_filled, self.refusal = False, str(error)
            raise

    def _copy(self, array: Any) -> None:
        given = array if type(array) is np.ndarray else np.asarray(array)
        own = self.array
        if own is not None and own.shape == given.shape:
            if own.dtype == given.dtype:  # what nearly all calls are
                np.copyto(own, given)
                self.is_filled = True
                return
        elif self._accepts(shape := without_ones(given.shape, len(self.dims))):
            own, given = self._sized(shape), given.reshape(shape)
        elif -1 not in self.dims and given.size == prod(self.dims):
            own, given = self._sized(self.dims), given.reshape(self.dims)
        else:
            raise Refused(f"tensor {self.name!r} has the dims {list(self.dims)}, the array {list(given.shape)}")
        if given.dtype == own.dtype:
            own[...] = given
        else:
            if given.dtype.kind not in "biuf":
                raise Refused(f"tensor {self.name!r}: an array of {given.dtype} has no numbers to convert")
            with np.errstate(all="ignore"):  # what does not fit a type has no value in it
                np.copyto(own, given, casting="unsafe")
        self.is_filled = True

    @or_none
    def asnumpy(self) -> Array:
        """A copy of the data."""
        if self.array is None:
            raise Refused(f"tensor {self.name!r} holds no data yet", Code.FAILED_PRECONDITION)
        return self.array.copy()

    @guarded
    def memcpy_from_host(self, array: Any) -> None:
        """Copies the bytes of an array as they are."""
        source = np.ascontiguousarray(array)
        if source.dtype.kind in "OUMm":
            raise Refused(f"tensor {self.name!r}: an array of {source.dtype} has no bytes to copy")
        if self.array is None:
            self._sized(source.shape if -1 in self.dims else self.dims)
        assert self.array is not None
        if source.nbytes > self.array.nbytes:
            raise Refused(f"{source.nbytes} bytes do not fit into the {self.array.nbytes} of tensor {self.name!r}")
        raw = source.reshape(-1).view(np.uint8)
        self.array.reshape(-1).view(np.uint8)[: raw.size] = raw
        self.is_filled = True

    @or_none
    def to(self, where: Device | TensorLocation | DataType) -> Tensor:
        """The tensor itself for a device; a converted copy for a type."""
        if isinstance(where, Device):
            return self
        if not isinstance(where, DataType):
            if not isinstance(where, TensorLocation):
                raise Refused(f"to takes a Device or a DataType, not {where!r:.60}")
            return self
        result = Tensor.of_model(self.name, get_numpy_dtype_by_datatype(where), self.dims)
        if self.array is not None:
            result.from_numpy(self.array)
        return result

    # -------------------------------------------------------------------------------------------------------- memory

    def data_address(self) -> int:
        """The address of the first byte; 0 where no memory can be had: sizes are open, or too large."""
        if self.array is None:
            if -1 in self.dims or self._problem:
                return 0
            try:
                self._sized(self.dims)
            except (MemoryError, ValueError):
                return 0
            self.is_filled = True  # who asks for the address writes there
        assert self.array is not None
        return int(self.array.__array_interface__["data"][0])

    @guarded
    def set_data_address(self, address: int, dims: Iterable[int] | None = None) -> None:
        """Uses memory of the program's own, which must stay there: `dims` elements from `address` on."""
        self._require_sound()
        shape = self.shape if dims is None else tuple(checked(dims))
        if address < _FIRST_PAGE or any(d < 0 for d in shape):
            raise Refused(f"there is no memory for {list(shape)} at address {address}")
        self._capacity = prod(shape) * self._dtype.itemsize
        self.array = _at(address, shape, self._dtype)
        self.is_filled = self.is_fixed = True

    @guarded
    def set_dimensions(self, dims: Dims | Iterable[int]) -> None:
        """Another shape: in the memory that the program gave where there is room, else in new memory."""
        shape = tuple(checked(dims))
        if -1 in shape:
            raise Refused(f"tensor {self.name!r}: the sizes of data are known; {list(shape)} has an open one")
        if not self.is_fixed and not self._accepts(shape):
            raise Refused(f"tensor {self.name!r} has the dims {list(self.dims)}; {list(shape)} does not fit")
        self._sized(shape)
        self.is_filled = self._capacity is not None

    resize = set_dimensions

    @guarded
    def set_capacity(self, size: int) -> None:
        """How many bytes there are at the address that the program gave."""
        if self._capacity is None:
            raise Refused(f"tensor {self.name!r} has memory of its own: set_data first", Code.FAILED_PRECONDITION)
        if not isinstance(size, int) or isinstance(size, bool) or size < self.get_size():
            raise Refused(f"tensor {self.name!r} has {self.get_size()} bytes; a capacity of {size!r:.60} is less")
        self._capacity = size

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes, -1 where one is open."""
        return self.dims if self.array is None else self.array.shape

    @property
    def dtype(self) -> DataType:
        """The type."""
        return get_datatype_by_numpy(self._dtype)

    def get_data_type(self) -> DataType:
        """The type."""
        return self.dtype

    def get_dimension(self) -> Dims:
        """The sizes."""
        return Dims(self.shape)

    @guarded
    def reshape(self, shape: Sequence[int]) -> None:
        """Changes the shape in place."""
        sizes = tuple(checked(shape))
        if self.array is None:
            self.dims = sizes
        else:
            self.array = self.array.reshape(sizes)

    def take(self, result: Array) -> None:
        """Holds a result: in the memory it has where that is the program's, else in the result's own."""
        if not self.is_fixed:
            self.array, self.is_filled = result, True
            return
        if self.array is None or self.array.size != result.size or self._dtype != result.dtype:
            if self._capacity is not None and result.size * self._dtype.itemsize > self._capacity:
                raise Refused(f"{result.nbytes} bytes do not fit into the {self._capacity} at the address given")
            own = self._sized(result.shape)
        else:
            own = self.array = self.array.reshape(result.shape)
        np.copyto(own, result, casting="unsafe")
        self.is_filled = True

    def _require_sound(self) -> None:
        """Raises Refused for a tensor that was made of no shape or no type."""
        if self._problem:
            raise Refused(f"tensor {self.name!r}: {self._problem}")

    def _accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape fits."""
        return len(shape) == len(self.dims) and all(d in (-1, s) for d, s in zip(self.dims, shape, strict=True))

    def _sized(self, shape: tuple[int, ...]) -> Array:
        """Memory of this shape: at the program's address where there is one, and it has room."""
        self._require_sound()
        if self._capacity is not None and self.array is not None:
            if prod(shape) * self._dtype.itemsize > self._capacity:
                raise Refused(f"the shape {list(shape)} does not fit into the {self._capacity} bytes at the address")
            self.array = _at(self.data_address(), shape, self._dtype)
        else:
            self.array = np.zeros(shape, self._dtype)
        return self.array

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {list(self.shape)}, {self.dtype})"


def without_ones(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """The shape without sizes of one at its end, as far as it has more axes than `rank`."""
    while len(shape) > rank and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _at(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """The memory at an address as an array."""
    size = prod(shape) * dtype.itemsize
    memory = memoryview((ctypes.c_char * size).from_address(address)).cast("B")
    array: Array = np.frombuffer(memory, dtype, prod(shape)).reshape(shape)
    return array


__all__ = ["Array", "Status", "Tensor"]
