"""The bytes of an offline model file (.mm): header and section table. Little-endian.

    0    magic, format major and minor, header bytes, number of sections, file bytes
    64   SHA-256 of the header (this field and the signature taken as zero)
    128  signature: algorithm (0 none, 1 Ed25519), 4 reserved bytes, 120 bytes for it; it signs the header's hash
    256  section table: 128 bytes per section: name, offset, bytes, CRC-32, SHA-256
         ... sections, each at a multiple of 4096, gaps zero, the file ends with the last section

The table is ordered by offset. A reader accepts its own major version with any minor version up to its own.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from magicmind.errors import OfflineModelError

MAGIC = b"\x89MMmodel"
MAJOR = 1
MINOR = 1  # 1: a plan may have `prepare`
ALIGNMENT = 4096
MANIFEST, GRAPH, WEIGHTS = "manifest", "graph", "weights"

_HEAD = struct.Struct("<8sHHIIIQ")  # magic, major, minor, header bytes, sections, reserved, file bytes
_HASH = slice(64, 96)
_SIGNATURE = slice(128, 256)
_TABLE = 256
_ENTRY = struct.Struct("<48sQQII32s24x")
_MAX_SECTIONS = 512

REBUILD = "build the model again with this version of magicmind"
DAMAGED = "the file is damaged: copy it again from where it was built, or build it again"


@dataclass(frozen=True)
class Section:
    """Where a section is and what its bytes hash to."""

    name: str
    offset: int
    size: int
    crc32: int
    sha256: bytes

    @property
    def end(self) -> int:
        return self.offset + self.size


def header_size(sections: int) -> int:
    """Bytes in front of the first section."""
    return align(_TABLE + sections * _ENTRY.size)


def align(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def pack_header(sections: list[Section]) -> bytes:
    """Header and table of a file that ends with the last of `sections`."""
    header = bytearray(header_size(len(sections)))
    _HEAD.pack_into(header, 0, MAGIC, MAJOR, MINOR, len(header), len(sections), 0, sections[-1].end)
    for index, s in enumerate(sections):
        name = s.name.encode()
        if len(name) > 47:
            raise OfflineModelError(
                f"section name {s.name!r} is longer than 47 bytes", hint="shorten the target's name"
            )
        _ENTRY.pack_into(header, _TABLE + index * _ENTRY.size, name, s.offset, s.size, s.crc32, 0, s.sha256)
    header[_HASH] = _hash(header)
    return bytes(header)


def parse_header(data: memoryview, where: str) -> dict[str, Section]:
    """Sections by name from the start of a file (`data` is all of it).

    Raises OfflineModelError when it is no offline model, of another version, cut short or damaged: every offset and
    length is inside the file, in order, without overlap.
    """
    if len(data) < _TABLE or data[:8] != MAGIC:
        raise OfflineModelError(f"{where}: not an offline model, or cut short ({len(data)} bytes)", hint=DAMAGED)
    _, major, minor, size, count, reserved, file_size = _HEAD.unpack_from(data)
    if (major, minor) > (MAJOR, MINOR) or major != MAJOR:
        raise OfflineModelError(
            f"{where}: format {major}.{minor}, this version reads {MAJOR}.0 to {MAJOR}.{MINOR}", hint=REBUILD
        )
    if count > _MAX_SECTIONS or size != header_size(count) or reserved or file_size != len(data) or size > file_size:
        raise OfflineModelError(
            f"{where}: {len(data)} bytes, the header says {file_size} with {count} sections", hint=DAMAGED
        )
    header = bytearray(data[:size])
    if header[_HASH] != _hash(header) or any(header[96:128]) or any(header[_SIGNATURE]):
        raise OfflineModelError(f"{where}: the header does not match its hash", hint=DAMAGED)
    sections: dict[str, Section] = {}
    end = size
    for index in range(count):
        section = _parse_entry(header, _TABLE + index * _ENTRY.size)
        if section.offset != align(end) or section.end > file_size or section.name in sections:
            raise OfflineModelError(f"{where}: section {section.name!r} lies outside the file", hint=DAMAGED)
        if bytes(data[end : section.offset]).strip(b"\0"):
            raise OfflineModelError(f"{where}: bytes in front of section {section.name!r} are not zero", hint=DAMAGED)
        sections[section.name] = section
        end = section.end
    if end != file_size:
        raise OfflineModelError(f"{where}: {file_size - end} bytes follow the last section", hint=DAMAGED)
    return sections


def _parse_entry(header: bytearray, at: int) -> Section:
    name, offset, size, crc, _, digest = _ENTRY.unpack_from(header, at)
    return Section(name.rstrip(b"\0").decode("utf-8", "replace"), offset, size, crc, digest)


def _hash(header: bytearray) -> bytes:
    """SHA-256 of the header without its hash and without the signature."""
    blank = bytearray(header)
    blank[_HASH] = bytes(32)
    blank[_SIGNATURE] = bytes(128)
    return hashlib.sha256(blank).digest()
