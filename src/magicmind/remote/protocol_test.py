"""Frames: what is sent comes back, and no bytes do more than raise MalformedError."""

from __future__ import annotations

import random
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from magicmind.errors import Error, ShapeError
from magicmind.remote import protocol
from magicmind.remote.address import Address
from magicmind.remote.protocol import MalformedError, decode, encode, encode_piece, pieces

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "floats": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "scalar": np.array(7, np.int64),
    "nothing": np.zeros((0, 4), np.float16),
    "bytes": np.arange(5, dtype=np.uint8),
    "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
    "ärger/1:0": np.array([True, False]),
}


def test_tensors_come_back_as_they_were() -> None:
    frame = decode(encode({"model": "x"}, ARRAYS))
    assert frame.text("model") == "x" and list(frame.tensors) == list(ARRAYS)
    for name, array in frame.tensors.items():
        assert array.dtype == ARRAYS[name].dtype and array.shape == ARRAYS[name].shape and array.flags.aligned
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_types_that_numpy_lacks() -> None:
    array = np.arange(3).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(decode(encode({}, {"x": array})).tensors["x"], array)


def test_a_file_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CHUNK", 100)
    data = bytes(range(256)) * 2
    found = [decode(piece) for piece in pieces(data)]
    assert [len(frame.payload) for frame in found] == [100] * 5 + [12]
    assert b"".join(frame.payload for frame in found) == data


def test_what_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ShapeError, match="cannot be sent"):
        encode({}, {"words": np.array(["a", "b"], object)})
    with pytest.raises(ShapeError, match="cannot be sent"):
        encode({}, {"thing": object()})
    monkeypatch.setattr(protocol, "MAX_MESSAGE", 100)
    with pytest.raises(ShapeError, match="smaller batches"):
        encode({}, {"x": np.zeros(26, np.float32)})


def frame(header: str, payload: bytes = b"") -> bytes:
    return struct.pack("<I", len(header)) + header.encode() + payload


def tensor(name: object = '"x"', dtype: object = '"float32"', shape: object = "[2]", payload: int = 16) -> bytes:
    return frame(f'{{"tensors": [{{"name": {name}, "dtype": {dtype}, "shape": {shape}}}]}}', bytes(payload))


ONE = '{"name": "x", "dtype": "int8", "shape": [1]}'

MALFORMED = {
    "nothing": b"",
    "three bytes": b"abc",
    "a header longer than the message": struct.pack("<I", 100) + b"{}",
    "an endless header": struct.pack("<I", 0xFFFFFFFF) + b"{}",
    "no JSON": frame("{nope"),
    "no UTF-8": struct.pack("<I", 2) + b"\xff\xfe",
    "a list": frame("[]"),
    "deep JSON": frame("[" * 100_000),
    "tensors that are no list": frame('{"tensors": {}}'),
    "a tensor that is a number": frame('{"tensors": [7]}'),
    "no dtype": frame('{"tensors": [{"name": "x", "shape": []}]}'),
    "an object": tensor(dtype='"object"'),
    "a void": tensor(dtype='"V8"'),
    "a structure": tensor(dtype='"f4,O"'),
    "a text": tensor(dtype='"U2"'),
    "an unknown dtype": tensor(dtype='"float33"'),
    "another byte order": tensor(dtype='">f4"'),
    "a negative dim": tensor(shape="[-2]"),
    "a fraction": tensor(shape="[2.0]"),
    "a truth": tensor(shape="[true]"),
    "a huge dim": tensor(shape="[281474976710656]"),
    "a huge product": tensor(shape="[100000000000, 100000000000, 100000000000]"),
    "many dims": tensor(shape=str([1] * 65)),
    "too little": tensor(payload=4),
    "too much": tensor(payload=64),
    "twice": frame(f'{{"tensors": [{ONE}, {ONE}]}}', bytes(32)),
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed(what: str) -> None:
    with pytest.raises(MalformedError):
        decode(MALFORMED[what])


def test_no_bytes_do_more_than_be_refused() -> None:
    rng = random.Random(0)
    sound = encode({"model": "x", "bytes": 3}, ARRAYS)
    for _ in range(3000):
        data = bytearray(sound)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            decode(bytes(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data))
        except MalformedError:
            continue


def test_values_of_a_header() -> None:
    found = decode(encode_piece({"bytes": 5, "flag": True, "name": 3}, b"12345"))
    assert found.count("bytes", 5) == 5
    for key in ("flag", "name", "nowhere"):
        with pytest.raises(MalformedError):
            found.text(key)
    for key, most in (("bytes", 4), ("flag", 9), ("nowhere", 9)):
        with pytest.raises(MalformedError):
            found.count(key, most)


@pytest.mark.parametrize(
    ("text", "shown", "loopback"),
    [
        ("localhost:9009", "localhost:9009", True),
        ("127.0.0.1", "127.0.0.1:8008", True),
        ("127.9.9.9:1", "127.9.9.9:1", True),
        ("[::1]:80", "[::1]:80", True),
        ("10.0.0.7:8008", "10.0.0.7:8008", False),
        ("0.0.0.0:8008", "0.0.0.0:8008", False),
        ("[::]:8008", "[::]:8008", False),
        ("localhost.example.com:8008", "localhost.example.com:8008", False),
    ],
)
def test_addresses(text: str, shown: str, loopback: bool) -> None:
    address = Address.parse(text)
    assert str(address) == shown and address.loopback is loopback


@pytest.mark.parametrize(
    "text", ["", ":8008", "host:", "host:99999", "host:port", "a b:1", "unix:/tmp/x", "http://x:1", None, 8]
)
def test_what_is_no_address(text: object) -> None:
    with pytest.raises(Error, match="no address"):
        Address.parse(text)  # type: ignore[arg-type]
