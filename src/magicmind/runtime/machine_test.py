"""What the machine allows: CPU features, caps, control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicmind.errors import TargetError
from magicmind.runtime.cpu import cache_sizes, capped, cpu_features, parse_features
from magicmind.runtime.limits import cgroup_quota


def test_flags_get_the_names_of_llvm() -> None:
    x86 = "processor : 0\nflags\t\t: fpu sse4_1 avx512_vnni pni abm bmi1 fma\nflags : none\n"
    assert parse_features(x86) == {"fpu", "sse4.1", "avx512vnni", "sse3", "lzcnt", "bmi", "fma"}
    arm = "processor : 0\nFeatures : fp asimd asimddp atomics\n"
    assert {"neon", "dotprod", "lse"} <= parse_features(arm)
    assert parse_features("") == frozenset()
    assert cpu_features()


def test_caps_forbid_what_lies_above() -> None:
    v3 = frozenset({"avx2", "fma", "sse4.2"})
    assert capped(v3, "x86-64-v2")
    assert not capped(v3, "x86-64-v3")
    assert not capped(v3, "")
    assert capped(v3 | {"avx512vnni"}, "x86-64-v4")
    assert not capped(v3 | {"avx512vnni"}, "native")
    with pytest.raises(TargetError, match=r"'v9' is unknown(.|\n)*x86-64-v3"):
        capped(v3, "v9")


def test_cache_sizes_are_plausible() -> None:
    l1, l2 = cache_sizes()
    assert 8 << 10 <= l1 <= l2 <= 1 << 30


def quota(tmp_path: Path, membership: str) -> int | None:
    (tmp_path / "member").write_text(membership)
    return cgroup_quota(tmp_path / "cgroup", tmp_path / "member")


def test_quota_of_version_two_is_the_least_of_all_levels(tmp_path: Path) -> None:
    inner = tmp_path / "cgroup" / "a" / "b"
    inner.mkdir(parents=True)
    assert quota(tmp_path, "0::/a/b\n") is None
    (inner / "cpu.max").write_text("max 100000\n")
    assert quota(tmp_path, "0::/a/b\n") is None
    (inner.parent / "cpu.max").write_text("250000 100000\n")
    assert quota(tmp_path, "0::/a/b\n") == 3
    (inner / "cpu.max").write_text("50000 100000\n")
    assert quota(tmp_path, "0::/a/b\n") == 1


def test_quota_of_version_one(tmp_path: Path) -> None:
    group = tmp_path / "cgroup" / "cpu,cpuacct" / "job"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    text = "5:memory:/job\n4:cpu,cpuacct:/job\n"
    assert quota(tmp_path, text) is None
    (group / "cpu.cfs_quota_us").write_text("400000\n")
    assert quota(tmp_path, text) == 4
