"""The table of targets: what each requires, and which one a CPU gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicmind.codegen import target as table
from magicmind.codegen.target import BLOCK, TARGETS, find_target, native_target
from magicmind.errors import TargetError
from magicmind.runtime import cpu

# Flags of /proc/cpuinfo beyond those of every x86-64.
HASWELL = "pni ssse3 cx16 sse4_1 sse4_2 popcnt movbe f16c fma avx avx2 bmi1 bmi2 abm"
SKYLAKE_SERVER = f"{HASWELL} avx512f avx512bw avx512cd avx512dq avx512vl"
MACHINES = {
    "nehalem": ("pni ssse3 cx16 sse4_1 sse4_2 popcnt", "x86-64-v2"),
    "haswell": (HASWELL, "x86-64-v3"),
    "alder lake": (f"{HASWELL} avx_vnni gfni vaes vpclmulqdq", "alderlake"),
    "skylake server": (SKYLAKE_SERVER, "x86-64-v4"),
    "cascade lake": (f"{SKYLAKE_SERVER} avx512_vnni", "cascadelake"),
    "zen 4": (f"{SKYLAKE_SERVER} sse4a avx512_vnni avx512_bf16 avx512vbmi gfni", "cascadelake"),
    "zen 5": (f"{SKYLAKE_SERVER} sse4a avx512_vnni avx_vnni avx512_bf16 avx512vbmi gfni", "cascadelake"),
    "sapphire rapids": (
        f"{SKYLAKE_SERVER} avx512_vnni avx_vnni avx512_bf16 avx512_fp16 avx512_bitalg avx512ifma avx512vbmi "
        "avx512_vbmi2 avx512_vpopcntdq gfni vaes vpclmulqdq amx_tile amx_int8 amx_bf16",
        "sapphirerapids",
    ),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_cpu_gets_the_last_target_it_fits(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags, expected = MACHINES[machine]
    monkeypatch.setattr(cpu, "cpu_features", lambda: cpu.parse_features(f"model name\t: x\nflags\t\t: fpu {flags}\n"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert native_target().name == expected
    assert native_target().split == (machine == "zen 4")


def test_no_target_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "cpu_features", frozenset)
    with pytest.raises(TargetError, match="no target fits this machine"):
        native_target()


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_rows_are_consistent(target: table.Target) -> None:
    assert find_target(target.name) is target
    assert target.lanes * target.registers_per_block == BLOCK
    assert target.vregs == (32 if target.lanes == 16 or not target.is_x86 else 16)
    assert target.fma == (not target.is_x86 or "fma" in target.requires)
    assert len(set(target.requires)) == len(target.requires)


@pytest.mark.parametrize("target", [t for t in TARGETS.values() if t.is_x86], ids=lambda t: t.name)
def test_every_x86_target_is_a_cap_that_lets_its_own_code_through(target: table.Target) -> None:
    assert not cpu.capped(frozenset(target.requires), target.name)
    forbidden = [t.name for t in TARGETS.values() if t.is_x86 and cpu.capped(frozenset(t.requires), target.name)]
    stronger = [t.name for t in TARGETS.values() if t.is_x86 and not set(t.requires) <= set(target.requires)]
    assert forbidden == stronger


def test_this_machine() -> None:
    assert "flags" not in Path("/proc/cpuinfo").read_text() or native_target().is_x86
