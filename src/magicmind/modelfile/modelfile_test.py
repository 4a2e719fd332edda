"""The file: byte-identical, whole or absent, and every flipped byte noticed."""

from __future__ import annotations

import errno
import hashlib
import itertools
import mmap
import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicmind.errors import OfflineModelError
from magicmind.modelfile import layout
from magicmind.modelfile.parts import WeightStore
from magicmind.modelfile.reader import open_bytes, open_file
from magicmind.modelfile.writer import serialize, write_fd, write_model
from magicmind.testing.handmade import model_parts


@pytest.fixture(scope="module")
def data() -> bytes:
    return serialize(model_parts())


def refuses(data: bytes) -> bool:
    try:
        open_bytes(data).close()
    except OfflineModelError:
        return True
    return False


def test_the_same_parts_give_the_same_bytes(data: bytes, tmp_path: Path) -> None:
    assert serialize(model_parts()) == data
    write_model(tmp_path / "a.mm", model_parts())
    assert (tmp_path / "a.mm").read_bytes() == data
    with open(tmp_path / "b.mm", "wb") as file:
        write_fd(model_parts(), file.fileno())
    assert (tmp_path / "b.mm").read_bytes() == data


def test_sections_are_page_aligned_and_readable(data: bytes) -> None:
    file = open_bytes(data)
    assert all(section.offset % 4096 == 0 for section in file.sections.values())
    assert bytes(file.view("graph")) == b"the graph"
    assert file.weights_address % 64 == 0
    assert file.inputs[0].shape == ((0, 100000),)
    assert file.manifest["precision"] == "force_float32"
    file.close()


def test_every_flipped_byte_of_the_header_is_noticed(data: bytes) -> None:
    header = struct.unpack_from("<I", data, 12)[0]
    missed = [i for i in range(header) if not refuses(data[:i] + bytes([data[i] ^ 0x10]) + data[i + 1 :])]
    assert missed == []


def test_flipped_bytes_of_every_section_and_gap_are_noticed(data: bytes) -> None:
    rng = random.Random(0)
    file = open_bytes(data)
    ranges = [(s.offset, s.end) for s in file.sections.values()]
    ranges += [(a, b) for (_, a), (b, _) in itertools.pairwise(ranges) if a < b]
    file.close()
    for start, end in ranges:
        places = {start, end - 1, *(rng.randrange(start, end) for _ in range(20))}
        for i in places:
            assert refuses(data[:i] + bytes([data[i] ^ (1 << rng.randrange(8))]) + data[i + 1 :]), i


def test_truncated_and_extended_files_are_refused(data: bytes) -> None:
    for size in {0, 1, 8, 63, 255, 256, 4095, 4096, 8192, len(data) // 2, len(data) - 1}:
        assert refuses(data[:size]), size
    assert refuses(data + b"\0")
    assert refuses(random.Random(1).randbytes(50000))


def rehashed(data: bytes, offset: int, value: bytes) -> bytes:
    """With other header bytes and a hash that fits them."""
    changed = bytearray(data)
    changed[offset : offset + len(value)] = value
    header = changed[: struct.unpack_from("<I", changed, 12)[0]]
    header[64:96] = bytes(32)
    header[128:256] = bytes(128)
    changed[64:96] = hashlib.sha256(header).digest()
    return bytes(changed)


def test_other_versions_say_how_to_rebuild(data: bytes) -> None:
    for major, minor in ((layout.MAJOR + 1, 0), (layout.MAJOR, layout.MINOR + 1), (0, 0)):
        with pytest.raises(OfflineModelError, match=r"(?s)format .*build the model again"):
            open_bytes(rehashed(data, 8, struct.pack("<HH", major, minor)))


@pytest.mark.parametrize("field", [(48, 1 << 40), (48, 4096), (56, 1 << 40), (56, (1 << 64) - 4096)])
def test_offsets_and_lengths_outside_the_file_are_refused(data: bytes, field: tuple[int, int]) -> None:
    offset, value = field
    assert refuses(rehashed(data, 256 + 128 + offset, struct.pack("<Q", value)))


def test_weights_by_crc_and_in_full(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.mm"
    path.write_bytes(data)
    open_file(path, verify="full").close()
    with pytest.raises(OfflineModelError, match="verify"):
        open_file(path, verify="never")


def test_missing_folders_and_directories(tmp_path: Path) -> None:
    with pytest.raises(OfflineModelError, match="cannot open"):
        open_file(tmp_path / "absent.mm")
    with pytest.raises(OfflineModelError, match="not a file"):
        open_file(tmp_path)
    with pytest.raises(OfflineModelError, match="cannot write"):
        write_model(tmp_path / "absent" / "m.mm", model_parts())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.mm"
    path.write_bytes(b"old")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OfflineModelError, match=r"No space left.*\n.*has room"):
        write_model(path, model_parts())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m.mm"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_an_offline_model_error() -> None:
    with open("/dev/full", "wb") as file, pytest.raises(OSError, match="No space"):
        write_fd(model_parts(), file.fileno())


def test_code_is_copied_where_the_mount_forbids_execution(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    file = open_bytes(data)
    name = next(name for name in file.sections if name.startswith("code:"))
    real = mmap.mmap
    calls = []

    def forbid(fd: int, *args: Any, **kwargs: Any) -> mmap.mmap:
        calls.append(fd)
        if len(calls) == 1:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return real(fd, *args, **kwargs)

    monkeypatch.setattr(mmap, "mmap", forbid)
    mapping = file.map_section(name)
    assert len(calls) == 2
    mapping.close()
    file.close()


def test_equal_weights_are_shared_and_aligned() -> None:
    store = WeightStore()
    a = np.arange(10, dtype=np.float32)
    assert store.add(a) == 0
    assert store.add(a * 2) == 64
    assert store.add(a.tobytes()) == 0
    assert store.add(b"") == store.add(np.empty((0, 3), np.float32))
    assert store.size == len(b"".join(bytes(chunk) for chunk in store.chunks()))


def test_weights_are_not_copied() -> None:
    store = WeightStore()
    weights = np.zeros(1000, np.float32)
    store.add(weights)
    assert np.shares_memory(weights, np.frombuffer(next(store.chunks()), np.float32))
