"""Every encoding of a tensor, and external data that must not be followed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from magicmind.errors import ModelFormatError
from magicmind.frontends.onnx.tensors import load_tensor

TYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.INT16: np.int16,
    TensorProto.INT8: np.int8,
    TensorProto.UINT64: np.uint64,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT16: np.uint16,
    TensorProto.UINT8: np.uint8,
    TensorProto.BOOL: np.bool_,
    TensorProto.COMPLEX64: np.complex64,
    TensorProto.COMPLEX128: np.complex128,
    TensorProto.INT4: ml_dtypes.int4,
    TensorProto.UINT4: ml_dtypes.uint4,
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
}


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("code", TYPES, ids=lambda c: TensorProto.DataType.Name(c))
def test_encodings(code: int, raw: bool) -> None:
    values = np.array([[0, 1, 1], [1, 0, 3]]) if code == TensorProto.BOOL else np.array([[0, 1, -2], [3, 5, -7]])
    if np.dtype(TYPES[code]).kind == "u" or code == TensorProto.UINT4:
        values = np.abs(values)
    array = values.astype(TYPES[code])
    if raw:
        proto = numpy_helper.from_array(array, "t")
    else:
        proto = helper.make_tensor("t", code, array.shape, array.flatten().tolist())
    loaded = load_tensor(proto, None).numpy()
    assert loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)


def test_strings() -> None:
    proto = TensorProto(name="t", data_type=TensorProto.STRING, dims=[2], string_data=[b"a", b"b"])
    assert load_tensor(proto, None).numpy().tolist() == [b"a", b"b"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dims": [3, 3]}, "holds 24 bytes, its shape [3, 3] needs 36"),
        ({"dims": [-1, 6]}, "has the shape [-1, 6]"),
        ({"raw_data": b"123"}, "holds 3 bytes"),
        ({"data_type": 99}, "unknown data type 99"),
        ({"data_type": TensorProto.INT4}, "bytes of INT4"),
        ({"data_type": TensorProto.STRING}, "holds 0 strings"),
    ],
)
def test_lengths_are_checked(change: dict[str, Any], text: str) -> None:
    good = numpy_helper.from_array(np.zeros((2, 3), np.float32), "weight")
    fields = {"name": "weight", "data_type": good.data_type, "dims": good.dims, "raw_data": good.raw_data, **change}
    with pytest.raises(ModelFormatError) as caught:
        load_tensor(TensorProto(**fields), None)
    assert text in str(caught.value) and "'weight'" in str(caught.value)


def external(location: str, **entries: int) -> onnx.TensorProto:
    proto = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        proto.external_data.add(key=key, value=str(value))
    return proto


def test_external_data(tmp_path: Path) -> None:
    data = np.arange(6, dtype=np.float32)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(data.tobytes())
    loaded = load_tensor(external("sub/w.bin", offset=8, length=16), tmp_path)
    np.testing.assert_array_equal(loaded.numpy(), data[2:])
    np.testing.assert_array_equal(load_tensor(external("sub/w.bin", offset=8), tmp_path).numpy(), data[2:])


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../w.bin",
        "sub/../../w.bin",
        "..\\w.bin",
        "C:\\w.bin",
        "",
        "nowhere.bin",
        ".",
        "link",
        "dir/w.bin",
    ],
)
def test_external_data_stays_in_the_folder(tmp_path: Path, location: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "model"
    outside.mkdir()
    folder.mkdir()
    for place in (tmp_path, outside):
        (place / "w.bin").write_bytes(bytes(16))
    os.symlink(outside / "w.bin", folder / "link")
    os.symlink(outside, folder / "dir")
    with pytest.raises(ModelFormatError, match="'w'"):
        load_tensor(external(location), folder)


@pytest.mark.parametrize("entries", [{"offset": 4}, {"offset": 100}, {"length": 20}, {"length": 12}, {"offset": -4}])
def test_external_lengths_are_checked(tmp_path: Path, entries: dict[str, int]) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    with pytest.raises(ModelFormatError):
        load_tensor(external("w.bin", **entries), tmp_path)


def test_external_data_of_a_model_given_as_bytes() -> None:
    with pytest.raises(ModelFormatError, match="lies in another file"):
        load_tensor(external("w.bin"), None)
