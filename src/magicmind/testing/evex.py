"""AVX-VNNI for an emulator that knows AVX-512 VNNI only: the same instructions in their other encoding.

The VEX forms of VPDPBUSD and VPDPWSSD on 256-bit registers (Intel SDM vol. 2, instruction encoding 2.3 and 2.7) are one
byte shorter than the EVEX forms, so each becomes a jump to the EVEX form behind the code, which jumps back.
"""

from __future__ import annotations

import re
import struct

# C4, R X B and map 0F38, W0 vvvv L=1 pp=66, opcode: constants that look like it by chance are one in 2^24 places.
_VNNI = re.compile(rb"\xc4[\x02\x22\x42\x62\x82\xa2\xc2\xe2][%s][\x50\x52]" % re.escape(bytes(range(0x05, 0x80, 8))))
_OPCODE = 4  # bytes up to and with it
_JUMP = 5


def without_vex_vnni(code: bytes) -> bytes:
    """The code with every such instruction moved behind its end as EVEX.256."""
    image = bytearray(code)
    for match in _VNNI.finditer(code):
        start = match.start()
        size, operands = _operands(code, start)
        place = len(image)
        prefix, moved = _evex_prefix(*code[start + 1 : start + _OPCODE]), bytearray(operands)
        if code[start + _OPCODE] & 0xC7 == 0x05:  # relative to the instruction's end, which moves
            (displacement,) = struct.unpack_from("<i", operands, 1)
            end = place + len(prefix) + len(operands)
            struct.pack_into("<i", moved, 1, displacement + start + size - end)
        image += prefix + moved
        image += _jump(len(image), start + size)
        image[start : start + size] = _jump(start, place).ljust(size, b"\x90")
    return bytes(image)


def _jump(source: int, destination: int) -> bytes:
    return b"\xe9" + struct.pack("<i", destination - (source + _JUMP))


def _evex_prefix(first: int, second: int, opcode: int) -> bytes:
    """EVEX prefix and opcode: R X B as they are, R' and V' 1 (registers below 16), 256 bits, no mask."""
    return bytes((0x62, first & 0xE0 | 0x12, second & 0x78 | 0x05, 0x28, opcode))


def _operands(code: bytes, start: int) -> tuple[int, bytes]:
    """(size of the instruction, ModRM and what follows), a displacement of 8 bits widened: EVEX would scale it."""
    at = start + _OPCODE
    mode, rm = code[at] >> 6, code[at] & 7
    head = 2 if mode != 3 and rm == 4 else 1  # ModRM, SIB
    if mode == 1:
        wide = struct.pack("<i", struct.unpack_from("<b", code, at + head)[0])
        return _OPCODE + head + 1, bytes((code[at] ^ 0xC0,)) + code[at + 1 : at + head] + wide
    no_base = mode == 0 and (rm == 5 or (head == 2 and code[at + 1] & 7 == 5))
    size = head + (4 if mode == 2 or no_base else 0)
    return _OPCODE + size, code[at : at + size]
