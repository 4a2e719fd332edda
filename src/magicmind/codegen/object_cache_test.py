"""Objects on disk: found again, never half, never too many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from magicmind import knobs
from magicmind.codegen import ir, llvm
from magicmind.codegen.object_cache import find_or_make, key_of, sweep
from magicmind.codegen.target import find_target


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAGICMIND_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MAGICMIND_CACHE_MB", raising=False)
    return tmp_path / "cache" / "objects"


def never() -> bytes:
    raise AssertionError("was to come from the folder")


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def test_an_object_is_made_once(folder: Path) -> None:
    assert find_or_make("ab12", lambda: b"code") == b"code"
    assert find_or_make("ab12", never) == b"code"
    assert [f.name for f in files(folder)] == ["ab12"]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_keys_tell_texts_apart() -> None:
    assert key_of(["ab", "c"]) != key_of(["a", "bc"]) != key_of(["abc"])


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 100])
def test_a_damaged_file_counts_as_absent(folder: Path, damage: bytes) -> None:
    find_or_make("ab12", lambda: b"code")
    files(folder)[0].write_bytes(damage)
    assert find_or_make("ab12", lambda: b"again") == b"again"
    assert find_or_make("ab12", never) == b"again"


def test_switched_off(folder: Path) -> None:
    with knobs.CACHE_MB.set(0):
        assert find_or_make("ab12", lambda: b"code") == b"code"
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_costs_time_only(folder: Path) -> None:
    folder.parent.write_text("a file stands in the way")
    assert find_or_make("ab12", lambda: b"code") == b"code"


def test_the_longest_unused_goes_first(folder: Path) -> None:
    for i, name in enumerate(("aa", "bb", "cc", "dd")):
        find_or_make(name, lambda: bytes(68))  # 100 bytes with its checksum
        os.utime(folder / name / name, (i, i))
    sweep(folder, 400)
    assert len(files(folder)) == 4
    sweep(folder, 399)
    assert [f.name for f in files(folder)] == ["cc", "dd"]


def test_the_same_bytes_with_and_without(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def module() -> ir.Module:
        made = ir.Module("twice")
        kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(), ir.IntType(64)])
        function = ir.Function(made, kind, "twice")
        b = ir.IRBuilder(function.append_basic_block("entry"))
        place, number = function.args
        b.store(b.add(number, number), place)
        b.ret_void()
        return made

    native, v2 = find_target("native"), find_target("x86-64-v2")
    made = llvm.compile_object(module(), native)
    assert len(files(folder)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(llvm, "_optimised", never)
        assert llvm.compile_object(module(), native) == made
    with knobs.CACHE_MB.set(0):
        assert llvm.compile_object(module(), native) == made
    llvm.compile_object(module(), v2)  # another target is another object
    assert len(files(folder)) == 2
