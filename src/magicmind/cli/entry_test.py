from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from magicmind.cli import entry


def fake(action: Callable[[], None]) -> object:
    """A command `fake` that does `action`."""

    def execute(_: object) -> None:
        action()

    module = type("fake", (), {"__name__": "magicmind.cli.fake", "__doc__": "A test.", "SUMMARY": "a test"})
    module.execute = staticmethod(execute)  # type: ignore[attr-defined]
    module.add_arguments = staticmethod(lambda parser: None)  # type: ignore[attr-defined]
    module.__name__ = "magicmind.cli.fake"
    return module


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["run"], ["run", "m.mm", "--iterations", "0"]])
def test_usage_errors_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        entry.main(arguments)
    assert ended.value.code == 2
    assert "usage: magicmind" in capsys.readouterr().err


def test_errors_go_to_stderr_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["info", str(tmp_path / "missing.mm")]) == 1
    printed = capsys.readouterr()
    assert "missing.mm" in printed.err and not printed.out


def test_interrupts_give_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "COMMANDS", (fake(interrupt),))
    assert entry.main(["fake"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_system_errors_name_the_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "out.mm")

    monkeypatch.setattr(entry, "COMMANDS", (fake(fail),))
    assert entry.main(["fake"]) == 1
    assert "out.mm: No space left on device" in capsys.readouterr().err


def test_unknown_log_level(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MAGICMIND_LOG", "loud")
    assert entry.main(["info", "m.mm"]) == 1
    assert "MAGICMIND_LOG='loud'" in capsys.readouterr().err
