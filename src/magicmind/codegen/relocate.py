"""PC-relative relocations of x86-64 and AArch64, applied to a flat image.

Source: System V ABI AMD64 supplement, section 4.4; ELF for the Arm 64-bit Architecture, section 5.7.
`S` is the symbol's offset in the image, `P` the place's, `A` the addend.
"""

from __future__ import annotations

import struct


class RelocationError(Exception):
    """A relocation that a flat image cannot satisfy, with the reason."""


def relocate(machine: str, image: bytearray, place: int, kind: int, symbol: int, addend: int) -> None:
    """Applies one relocation. Raises RelocationError for absolute and GOT kinds, and for what is too far."""
    if machine == "EM_X86_64":
        _x86(image, place, kind, symbol + addend)
    elif machine == "EM_AARCH64":
        _aarch64(image, place, kind, symbol + addend)
    else:
        raise RelocationError(f"machine {machine} is not known to the linker")


# --- x86-64 ---------------------------------------------------------------------------------------------------------

_X86_PC32 = (2, 4)  # R_X86_64_PC32, R_X86_64_PLT32: every callee is in the image, so no PLT is needed
_X86_PC64 = 24
_X86_GOT = (9, 41, 42)  # R_X86_64_GOTPCREL, GOTPCRELX, REX_GOTPCRELX
_X86_ABSOLUTE = {1: "64", 10: "32", 11: "32S", 12: "16", 14: "8"}


def _x86(image: bytearray, place: int, kind: int, target: int) -> None:
    if kind in _X86_GOT:
        _relax_got_load(image, place)
    elif kind == _X86_PC64:
        struct.pack_into("<q", image, place, target - place)
        return
    elif kind in _X86_ABSOLUTE:
        raise RelocationError(f"R_X86_64_{_X86_ABSOLUTE[kind]} is an absolute address")
    elif kind not in _X86_PC32:
        raise RelocationError(f"x86-64 relocation type {kind} is not supported")
    distance = target - place
    if not -(1 << 31) <= distance < 1 << 31:
        raise RelocationError(f"{distance} bytes away, beyond 2 GiB")
    struct.pack_into("<i", image, place, distance)


def _relax_got_load(image: bytearray, place: int) -> None:
    """Replaces the load of an address from the GOT: `mov x@GOTPCREL(%rip), r` becomes `lea x(%rip), r`."""
    if image[place - 2] == 0x8B:
        image[place - 2] = 0x8D
    elif image[place - 2 : place] == b"\xff\x15":
        image[place - 2 : place] = b"\x67\xe8"  # call *x@GOTPCREL(%rip) -> addr32 call x
    else:
        raise RelocationError("is read through a GOT; mark the symbol hidden")


# --- AArch64 --------------------------------------------------------------------------------------------------------

_A64_ABSOLUTE = {257: "ABS64", 258: "ABS32", 259: "ABS16"}
_A64_GOT = (309, 311, 312, 313)
# kind -> log2 of the access that scales the 12-bit immediate
_A64_LO12 = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}
# kind -> (bits, shift of the field) of a word-scaled PC-relative immediate
_A64_WORD = {283: (26, 0), 282: (26, 0), 280: (19, 5), 279: (14, 5), 273: (19, 5)}


def _aarch64(image: bytearray, place: int, kind: int, target: int) -> None:
    distance = target - place
    if kind in _A64_WORD:
        bits, shift = _A64_WORD[kind]
        if distance % 4:
            raise RelocationError(f"{distance} bytes away, not a whole number of instructions")
        _insert(image, place, _signed(distance >> 2, bits), bits, shift)
    elif kind in (275, 276):  # ADR_PREL_PG_HI21, and _NC
        pages = (target & ~0xFFF) - (place & ~0xFFF) >> 12
        _insert_adr(image, place, _signed(pages, 21))
    elif kind == 274:  # ADR_PREL_LO21
        _insert_adr(image, place, _signed(distance, 21))
    elif kind in _A64_LO12:
        scale = _A64_LO12[kind]
        if target & ((1 << scale) - 1):
            raise RelocationError(f"address {target:#x} is not aligned to {1 << scale}")
        _insert(image, place, (target & 0xFFF) >> scale, 12, 10)
    elif kind == 260:
        struct.pack_into("<q", image, place, distance)
    elif kind in (261, 314):  # PREL32, PLT32
        struct.pack_into("<I", image, place, _signed(distance, 32))
    elif kind == 262:
        struct.pack_into("<H", image, place, _signed(distance, 16))
    elif kind in _A64_ABSOLUTE:
        raise RelocationError(f"R_AARCH64_{_A64_ABSOLUTE[kind]} is an absolute address")
    elif kind in _A64_GOT:
        raise RelocationError("is read through a GOT; mark the symbol hidden")
    else:
        raise RelocationError(f"AArch64 relocation type {kind} is not supported")


def _signed(value: int, bits: int) -> int:
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise RelocationError(f"too far for a field of {bits} bits")
    return value & ((1 << bits) - 1)


def _insert(image: bytearray, place: int, value: int, bits: int, shift: int) -> None:
    (word,) = struct.unpack_from("<I", image, place)
    mask = ((1 << bits) - 1) << shift
    struct.pack_into("<I", image, place, (word & ~mask) | (value << shift))


def _insert_adr(image: bytearray, place: int, value: int) -> None:
    """ADR and ADRP split their 21 bits: the low two at 29, the rest at 5."""
    _insert(image, place, value & 3, 2, 29)
    _insert(image, place, value >> 2, 19, 5)
