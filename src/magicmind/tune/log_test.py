"""The log: kept, read again, whatever an interruption left of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicmind.errors import Error
from magicmind.tune.log import Log, Verdict

CPU: dict[str, str | int] = {"cpu": "some", "target": "x86-64-v3", "threads": 2}


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log.jsonl"
    log = Log(path, CPU)
    log.measured("conv", "tile 1", 0.91234)
    log.measured("conv", "tile 1", 0.8)
    log.measured("conv", "tile 2", 1.0)
    log.decided("net", Verdict({"conv": "tile 1"}, True))
    again = Log(path, CPU)
    assert again.ratios == {"conv": {"tile 1": 0.8, "tile 2": 1.0}}
    assert again.verdicts == {"net": Verdict({"conv": "tile 1"}, True)}


@pytest.mark.parametrize("rest", [b'{"key": "conv", "candi', b"\xff\xfe", b"[1, 2]", b'{"key": 1}', b"\n\n"])
def test_a_line_cut_short_is_passed_over(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "log.jsonl"
    Log(path, CPU).measured("conv", "tile 1", 0.5)
    with open(path, "ab") as file:
        file.write(rest)
    Log(path, CPU).measured("conv", "tile 2", 0.25)
    assert Log(path, CPU).ratios == {"conv": {"tile 1": 0.5, "tile 2": 0.25}}


def test_other_machines_have_other_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGICMIND_CACHE_DIR", str(tmp_path))
    Log.of(CPU).measured("conv", "tile 1", 0.5)
    assert Log.of({**CPU, "cpu": "another"}).ratios == {}
    assert Log.of(CPU).ratios == {"conv": {"tile 1": 0.5}}


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MAGICMIND_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(Error, match=r"cannot be kept in .*file") as caught:
        Log.of(CPU)
    assert "MAGICMIND_CACHE_DIR" in str(caught.value)
