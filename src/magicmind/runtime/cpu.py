"""What this machine's CPU can do, in LLVM's names.

Linux only: /proc/cpuinfo already leaves out what the kernel disables.
"""

from __future__ import annotations

import functools
from pathlib import Path

from magicmind.errors import TargetError

# Where the kernel's spelling of a flag is not LLVM's.
_RENAMED = {
    "pni": "sse3",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "bmi1": "bmi",
    "abm": "lzcnt",
    "lahf_lm": "sahf",
    "pclmulqdq": "pclmul",
    "sha_ni": "sha",
    "avx_vnni": "avxvnni",
    "avx512_vnni": "avx512vnni",
    "avx512_vbmi2": "avx512vbmi2",
    "avx512_bitalg": "avx512bitalg",
    "avx512_vpopcntdq": "avx512vpopcntdq",
    "avx512_bf16": "avx512bf16",
    "avx512_fp16": "avx512fp16",
    "amx_tile": "amx-tile",
    "amx_int8": "amx-int8",
    "amx_bf16": "amx-bf16",
    "asimd": "neon",
    "asimdhp": "fullfp16",
    "asimddp": "dotprod",
    "atomics": "lse",
}

_AVX2 = frozenset({"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_VNNI = _AVX512 | {"avx512vnni"}
_AMX = _VNNI | {"avxvnni", "avx512bf16", "avx512fp16", "amx-tile", "amx-int8", "amx-bf16"}
# What each value of MAGICMIND_TARGET lets through, of the features that any of them gates.
_CAPS: dict[str, frozenset[str]] = {
    "x86-64-v2": frozenset(),
    "x86-64-v3": _AVX2,
    "alderlake": _AVX2 | {"avxvnni"},
    "x86-64-v4": _AVX512,
    "cascadelake": _VNNI,
    "sapphirerapids": _AMX,
    "aarch64": _AMX,
    "native": _AMX,
}


def parse_features(cpuinfo: str) -> frozenset[str]:
    """LLVM feature names from the text of /proc/cpuinfo (first processor that lists flags)."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(_RENAMED.get(flag, flag) for flag in value.split())
    return frozenset()


@functools.cache
def cpu_features() -> frozenset[str]:
    """Features of this machine's CPU that the kernel lets programs use."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            # One processor's block is enough: on a large machine the whole text takes milliseconds.
            for line in file:
                if line.startswith(("flags", "Features")):
                    return parse_features(line)
    except OSError as error:
        raise TargetError(f"cannot read this CPU's features: {error}", hint="models run on Linux only") from error
    return frozenset()


def capped(required: frozenset[str], cap: str) -> bool:
    """Whether MAGICMIND_TARGET=`cap` forbids code that needs `required`. Raises TargetError for an unknown cap."""
    if not cap:
        return False
    if cap not in _CAPS:
        raise TargetError(f"MAGICMIND_TARGET={cap!r} is unknown", hint=f"known: {', '.join(_CAPS)}")
    return bool((required & _AMX) - _CAPS[cap])


def cache_sizes() -> tuple[int, int]:
    """(L1 data, L2) bytes of the first core; 32 KiB and 1 MiB where the kernel does not tell."""
    sizes = {1: 32 << 10, 2: 1 << 20}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level = int((folder / "level").read_text())
            kind = (folder / "type").read_text().strip()
            size = _parse_size((folder / "size").read_text().strip())
        except (OSError, ValueError):
            continue  # a kernel without this entry: the defaults stand
        if kind != "Instruction" and level in sizes:
            sizes[level] = size
    return sizes[1], sizes[2]


def _parse_size(text: str) -> int:
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
    return int(text.rstrip("KM")) * unit
