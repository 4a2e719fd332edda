"""Run-time tensors: conversion by value, shapes that are open, addresses."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.facade.tensor import Tensor


def tensor(dtype: str, *dims: int) -> Tensor:
    return Tensor.of_model("x", np.dtype(dtype), dims)


CASTS = (
    ("float64", "uint8"), ("float64", "int32"), ("int64", "int32"), ("float64", "float32"), ("float16", "float32"),
    ("float32", "float32"), ("uint8", "float32"), ("bool", "uint8"),
)  # fmt: skip


@pytest.mark.parametrize(("given", "wanted"), CASTS)
def test_arrays_are_converted_by_value(given: str, wanted: str) -> None:
    array = np.array([[0, 1, 200]], given)
    x = tensor(wanted, 1, 3)
    assert x.from_numpy(array).ok()
    found = x.asnumpy()
    assert found is not None and found.dtype == wanted
    np.testing.assert_array_equal(found, array.astype(wanted))


def test_fractions_are_cut_off() -> None:
    x = tensor("int32", 3)
    assert x.from_numpy(np.array([1.9, -1.9, 0.5])).ok()
    np.testing.assert_array_equal(x.asnumpy(), [1, -1, 0])


def test_an_open_size_is_the_arrays() -> None:
    x = tensor("float32", -1, 2)
    assert x.shape == (-1, 2)
    assert x.from_numpy(np.ones((3, 2))).ok() and x.shape == (3, 2)
    assert x.from_numpy(np.ones((5, 2))).ok() and x.shape == (5, 2)


def test_the_array_is_copied() -> None:
    array = np.zeros((2, 2), np.float32)
    x = tensor("float32", 2, 2)
    assert x.from_numpy(array.T).ok()
    array[:] = 1
    first = x.asnumpy()
    assert x.from_numpy(array).ok()
    np.testing.assert_array_equal(first, np.zeros((2, 2)))


def test_another_rank_with_as_many_elements() -> None:
    x = tensor("float32", 2, 3)
    assert x.from_numpy(np.arange(6).reshape(2, 1, 3)).ok() and x.shape == (2, 3)


@pytest.mark.parametrize("array", [np.ones((2, 2)), np.ones(()), np.array(["a"]), None, "text", [[1, 2], [3]]])
def test_what_does_not_fit(array: object) -> None:
    x = tensor("float32", 2, 3)
    status = x.from_numpy(array)
    assert not status.ok() and status.error_message


def test_to_is_in_place_for_a_device_and_new_for_a_type() -> None:
    x = tensor("float32", 2)
    assert x.from_numpy(np.array([1.0, 2.0])).ok()
    assert x.to(mm.Device()) is x
    narrow = x.to(mm.DataType.INT32)
    assert narrow is not None and narrow is not x and narrow.dtype is mm.DataType.INT32
    np.testing.assert_array_equal(narrow.asnumpy(), [1, 2])
    assert x.to("cuda") is None  # type: ignore[arg-type]


def test_reshape_is_in_place() -> None:
    x = tensor("float32", 2, 3)
    assert x.from_numpy(np.ones((2, 3))).ok()
    assert x.reshape((2, 3, 1)).ok() and x.shape == (2, 3, 1)
    assert not x.reshape((5,)).ok()


def test_a_free_tensor_and_raw_copies() -> None:
    x = mm.Tensor(shape=(2, 2), dtype=mm.DataType.INT32, location=mm.TensorLocation.kMLU)
    bits = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    assert x.memcpy_from_host(bits).ok()
    np.testing.assert_array_equal(x.asnumpy(), bits.view(np.int32).reshape(2, 2))
    assert not x.memcpy_from_host(np.zeros(9)).ok()


def test_addresses_are_real_and_count_bytes() -> None:
    whole = mm.Tensor(shape=(6,), dtype=mm.DataType.FLOAT32)
    assert whole.memcpy_from_host(np.arange(6, dtype=np.float32)).ok()
    address = whole.data_address()
    assert ctypes.c_float.from_address(address + 4 * 5).value == 5.0
    part = tensor("float32", -1)
    assert part.set_data_address(address + 4 * 2, [3]).ok()
    np.testing.assert_array_equal(part.asnumpy(), [2.0, 3.0, 4.0])
    assert part.from_numpy(np.array([7.0, 8.0, 9.0])).ok()
    np.testing.assert_array_equal(whole.asnumpy(), [0, 1, 7, 8, 9, 5])
    assert not part.from_numpy(np.zeros(4)).ok()  # more than the address was said to have


@pytest.mark.parametrize(("address", "dims"), [(0, [1]), (4096, [-1]), ("here", [1])])
def test_addresses_that_are_none(address: object, dims: list[int]) -> None:
    assert not tensor("float32", 1).set_data_address(address, dims).ok()  # type: ignore[arg-type]


def test_a_tensor_without_data() -> None:
    assert tensor("float32", -1).asnumpy() is None
    assert tensor("float32", -1).data_address() == 0


def test_resize_fills_open_sizes() -> None:
    x = tensor("uint8", -1, 2)
    assert x.resize((3, 2)).ok() and x.shape == (3, 2) and not x.is_filled
    assert x.from_numpy(np.ones((3, 2))).ok()
    status = x.resize((3, 5))
    assert not status.ok() and "has the dims [-1, 2]; [3, 5] does not fit" in str(status)
    assert x.shape == (3, 2) and not x.resize((-1, 2)).ok()
    free = mm.Tensor(shape=(2,), dtype=mm.DataType.FLOAT32)
    assert free.resize([4, 4]).ok() and free.from_numpy(np.ones((4, 4))).ok()


def test_an_array_that_is_refused_leaves_no_data() -> None:
    x = tensor("float32", 1, 2)
    assert x.from_numpy(np.ones((1, 2))).ok() and x.is_filled
    assert not x.from_numpy(np.ones((3, 2))).ok()
    assert not x.is_filled and "array [3, 2]" in x.refusal
