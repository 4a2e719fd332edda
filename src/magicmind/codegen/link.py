"""The linker: relocatable objects in, one flat position-independent blob out.

It lays the allocated sections one after the other and resolves PC-relative relocations; whatever a plain mapping of
the bytes could not satisfy (absolute addresses, writable data, undefined symbols) is a CompileError listing all of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from magicmind.codegen import elf
from magicmind.codegen.relocate import RelocationError, relocate
from magicmind.errors import CompileError
from magicmind.modelfile.blob import Blob

_FUNCTION_ALIGNMENT = 64
# Unwind tables: nothing unwinds through generated code.
_DROPPED = (".eh_frame", ".rela.eh_frame")


@dataclass
class _Section:
    object_index: int
    index: int
    name: str
    data: bytes
    alignment: int
    executable: bool
    relocations: list[tuple[int, int, int, int]] = field(default_factory=list)  # offset, type, symbol index, addend
    offset: int = 0


@dataclass
class _Object:
    index: int
    machine: str
    sections: dict[int, _Section]
    symbols: list[elf.Symbol]
    faults: list[str]


def link(objects: Sequence[bytes], exports: Sequence[str]) -> Blob:
    """Links ELF64 relocatable objects (x86-64 or AArch64, PIC, small code model) into one blob.

    Code comes first, then constants; sections keep their alignment, code at least 64 bytes. Constant sections with
    equal bytes are stored once. The same input gives the same bytes. Raises CompileError listing every symbol that
    nobody defines with who refers to it, symbols defined twice, writable data and relocations that need a loader.
    """
    loaded = [_read(index, data) for index, data in enumerate(objects)]
    machines = {item.machine for item in loaded}
    if len(machines) != 1:
        raise CompileError(f"objects for different machines cannot be linked: {sorted(machines)}")
    faults = [fault for item in loaded for fault in item.faults]
    total = _lay_out(loaded)
    defined = _global_symbols(loaded, faults)
    image = bytearray(total)
    for section in _sections(loaded):
        image[section.offset : section.offset + len(section.data)] = section.data
    _resolve(loaded, defined, image, machines.pop(), faults)
    faults += [f"undefined symbol {name}: asked for as an entry point" for name in exports if name not in defined]
    if faults:
        raise CompileError("the linker found:\n  " + "\n  ".join(faults))
    return Blob(bytes(image), {name: defined[name] for name in exports})


def _read(index: int, data: bytes) -> _Object:
    file = elf.read_object(data)
    result = _Object(index, file.machine, {}, file.symbols, [])
    for number, section in enumerate(file.sections):
        if not section.flags & elf.SHF_ALLOC or section.name in _DROPPED or not section.size:
            continue
        if section.flags & elf.SHF_WRITE:
            result.faults.append(f"object {index}: section {section.name} is writable ({section.size} bytes)")
        executable = bool(section.flags & elf.SHF_EXECINSTR)
        alignment = max(section.alignment, _FUNCTION_ALIGNMENT if executable else 1)
        result.sections[number] = _Section(index, number, section.name, section.data, alignment, executable)
    for section in file.sections:
        if section.info not in result.sections:
            continue
        if section.kind == elf.SHT_REL:
            result.faults.append(f"object {index}: {section.name} has relocations without addends")
        elif section.kind == elf.SHT_RELA:
            result.sections[section.info].relocations = elf.relocations(section)
    return result


def _is_global(symbol: elf.Symbol) -> bool:
    return symbol.binding in (elf.STB_GLOBAL, elf.STB_WEAK)


def _sections(objects: Sequence[_Object]) -> list[_Section]:
    return [section for item in objects for section in item.sections.values()]


def _lay_out(objects: Sequence[_Object]) -> int:
    """Gives every section its offset; returns the blob's size."""
    ordered = sorted(_sections(objects), key=lambda s: not s.executable)  # stable: input order within each kind
    seen: dict[bytes, int] = {}
    end = 0
    for section in ordered:
        shareable = not section.executable and not section.relocations
        known = seen.get(section.data) if shareable else None
        if known is not None and known % section.alignment == 0:
            section.offset = known
            continue
        section.offset = -(-end // section.alignment) * section.alignment
        end = section.offset + len(section.data)
        if shareable:
            seen[section.data] = section.offset
    return end


def _global_symbols(objects: Sequence[_Object], faults: list[str]) -> dict[str, int]:
    """Name -> offset of every defined global symbol; of several weak ones the first counts."""
    strong: dict[str, int] = {}
    weak: dict[str, int] = {}
    for item in objects:
        for symbol in item.symbols:
            if not _is_global(symbol) or symbol.section not in item.sections:
                continue
            offset = item.sections[symbol.section].offset + symbol.value
            if symbol.binding == elf.STB_WEAK:
                weak.setdefault(symbol.name, offset)
            elif symbol.name in strong:
                faults.append(f"symbol {symbol.name} is defined twice (again in object {item.index})")
            else:
                strong[symbol.name] = offset
    return weak | strong


def _resolve(
    objects: Sequence[_Object], defined: dict[str, int], image: bytearray, machine: str, faults: list[str]
) -> None:
    missing: defaultdict[str, list[str]] = defaultdict(list)
    for item in objects:
        for section in item.sections.values():
            for offset, kind, symbol_index, addend in section.relocations:
                symbol = item.symbols[symbol_index]
                target = _address(item, symbol, defined)
                if target is None:
                    missing[symbol.name].append(_place(item, section, offset))
                    continue
                try:
                    relocate(machine, image, section.offset + offset, kind, target, addend)
                except RelocationError as error:
                    name = symbol.name or "a local constant"
                    faults.append(f"{_place(item, section, offset)}: reference to {name}: {error}")
    for name in sorted(missing):
        faults.append(f"undefined symbol {name}: referred to by {', '.join(dict.fromkeys(missing[name]))}")


def _address(item: _Object, symbol: elf.Symbol, defined: dict[str, int]) -> int | None:
    if symbol.section in item.sections and symbol.binding != elf.STB_WEAK:
        return item.sections[symbol.section].offset + symbol.value
    return defined.get(symbol.name) if _is_global(symbol) else None


def _place(item: _Object, section: _Section, offset: int) -> str:
    """The function around an offset, for messages."""
    named = [
        (symbol.value, symbol.name)
        for symbol in item.symbols
        if symbol.section == section.index
        and symbol.name
        and not symbol.name.startswith("$")
        and symbol.value <= offset
    ]
    return max(named)[1] if named else f"object {item.index} {section.name}+{offset:#x}"
