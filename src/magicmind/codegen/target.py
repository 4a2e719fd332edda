"""What the code generator knows about a machine: lanes, registers, instructions. One row per target."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace

from magicmind.errors import TargetError

BLOCK = 16
"""Channels per block of the blocked layout, on every target (docs/design/0001-architecture.md, Layouts)."""


@dataclass(frozen=True)
class Target:
    """A machine to generate code for.

    `lanes` float32 lanes per vector register, `vregs` vector registers; `l1`/`l2` data cache bytes per core;
    `requires` CPU features (LLVM's names) that must be present before any of this code may run.
    """

    name: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    lanes: int
    vregs: int
    fma: bool
    requires: tuple[str, ...]
    l1: int = 32 << 10
    l2: int = 1 << 20
    threads: int = 4
    """Threads that schedules are chosen for; results do not depend on it."""
    split: bool = False
    """Whether 512 bits take the arithmetic two steps, as on Zen 4: loads and conversions then keep up with it."""

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith("x86_64")

    @property
    def registers_per_block(self) -> int:
        """Vector registers that one block of 16 float32 takes."""
        return BLOCK // self.lanes


_X86 = "x86_64-unknown-linux-gnu"
_V2 = ("cx16", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
# What else LLVM takes for granted on a Sapphire Rapids: it shifts bytes with GFNI, for example.
_SPR = (
    *(*_V4, "avx512vnni", "avxvnni", "avx512bf16", "avx512bitalg", "avx512ifma", "avx512vbmi", "avx512vbmi2"),
    *("avx512vpopcntdq", "gfni", "vaes", "vpclmulqdq"),
)
# Without it LLVM halves every 512-bit vector on the server CPUs' models.
_WIDE = ("-prefer-256-bit",)
# All arithmetic is float32 or whole numbers; without float16's instructions an emulator of Ice Lake runs the code.
_NO_FP16 = (*_WIDE, "-avx512fp16")

TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        Target("x86-64-v2", _X86, "x86-64-v2", (), 4, 16, False, _V2),
        Target("x86-64-v3", _X86, "x86-64-v3", (), 8, 16, True, _V3),
        # Not LLVM's CPU of that name: it has extensions that nothing here needs and others with AVX-VNNI lack.
        Target("alderlake", _X86, "x86-64-v3", ("+avxvnni",), 8, 16, True, (*_V3, "avxvnni")),
        Target("x86-64-v4", _X86, "x86-64-v4", _WIDE, 16, 32, True, _V4),
        Target("cascadelake", _X86, "cascadelake", _WIDE, 16, 32, True, (*_V4, "avx512vnni")),
        Target("sapphirerapids", _X86, "sapphirerapids", _NO_FP16, 16, 32, True, _SPR, l1=48 << 10, l2=2 << 20),
        Target("aarch64", "aarch64-unknown-linux-gnu", "generic", ("+neon",), 4, 32, True, ("neon",)),
    )
}


def find_target(name: str) -> Target:
    """The target of that name; `native` is the best one this machine can run.

    Raises TargetError naming the known ones.
    """
    if name == "native":
        return native_target()
    if name in TARGETS:
        return TARGETS[name]
    raise TargetError(f"unknown target {name!r}", hint=f"known targets: native, {', '.join(TARGETS)}")


def native_target() -> Target:
    """The last row of the table whose required features this CPU has, with its cache sizes and allowed threads."""
    from magicmind.runtime.cpu import cache_sizes, cpu_features
    from magicmind.runtime.limits import thread_limit

    machine = platform.machine()
    present = cpu_features()
    fitting = [t for t in TARGETS.values() if t.triple.startswith(machine) and set(t.requires) <= present]
    if not fitting:
        raise TargetError(
            f"no target fits this machine ({machine})", hint=f"name one to cross-compile: {', '.join(TARGETS)}"
        )
    l1, l2 = cache_sizes()
    # AMD's alone are the instructions of sse4a; with AVX-VNNI came arithmetic as wide as the registers.
    split = fitting[-1].lanes == BLOCK and "sse4a" in present and "avxvnni" not in present
    return replace(fitting[-1], l1=l1, l2=l2, threads=thread_limit(), split=split)
