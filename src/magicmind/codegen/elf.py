"""Reads what the linker needs from a relocatable object: sections, symbols, relocations.

ELF64, little-endian. Source: System V ABI, chapter 4 (object files). Malformed input is a CompileError; there is no
other source of objects than LLVM.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from magicmind.errors import CompileError

SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 2, 4, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
STB_GLOBAL, STB_WEAK = 1, 2
_MACHINES = {62: "EM_X86_64", 183: "EM_AARCH64"}
_RELOCATABLE = 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")


@dataclass(frozen=True)
class Section:
    """One section header; `data` are its bytes, none for memory that starts as zeros (whose `size` counts too)."""

    name: str
    kind: int
    flags: int
    size: int
    data: bytes
    link: int
    info: int
    alignment: int


@dataclass(frozen=True)
class Symbol:
    """`section` is a number of `ObjectFile.sections`; 0 where the symbol is not defined here."""

    name: str
    section: int
    value: int
    binding: int


@dataclass(frozen=True)
class ObjectFile:
    """An object: its machine ("EM_X86_64", ...), sections and symbols by number."""

    machine: str
    sections: list[Section]
    symbols: list[Symbol]


def read_object(data: bytes) -> ObjectFile:
    """Raises CompileError when the bytes are not an ELF64 relocatable object."""
    try:
        identity, kind, machine, _, _, _, offset, _, _, _, _, _, count, names_at = _HEADER.unpack_from(data)
        if identity[:6] != b"\x7fELF\x02\x01" or kind != _RELOCATABLE:
            raise CompileError("not an ELF64 little-endian relocatable object")
        headers = [_SECTION.unpack_from(data, offset + i * _SECTION.size) for i in range(count)]
        contents = [b"" if h[1] == SHT_NOBITS else data[h[4] : h[4] + h[5]] for h in headers]
        names = contents[names_at]
        sections = [
            Section(_text(names, name), kind, flags, size, content, link, info, alignment)
            for (name, kind, flags, _, _, size, link, info, alignment, _), content in zip(
                headers, contents, strict=True
            )
        ]
        tables = [s for s in sections if s.kind == SHT_SYMTAB]
        symbols = [symbol for table in tables for symbol in _symbols(table.data, sections[table.link].data)]
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise CompileError(f"an object file is damaged: {error}") from error
    return ObjectFile(_MACHINES.get(machine, f"machine {machine}"), sections, symbols)


def _symbols(table: bytes, names: bytes) -> Iterator[Symbol]:
    for name, info, _, section, value, _ in _SYMBOL.iter_unpack(table):
        yield Symbol(_text(names, name), section, value, info >> 4)


def relocations(section: Section) -> list[tuple[int, int, int, int]]:
    """(offset, type, symbol number, addend) of a SHT_RELA section."""
    return [(at, info & 0xFFFFFFFF, info >> 32, addend) for at, info, addend in _RELA.iter_unpack(section.data)]


def _text(names: bytes, at: int) -> str:
    return names[at : names.index(0, at)].decode()
