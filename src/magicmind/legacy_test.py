"""Older programs run unmodified."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from magicmind.legacy import strtobool

SCRIPT = """
import argparse
from distutils.util import strtobool
import numpy as np
import helper  # lies beside the script
parser = argparse.ArgumentParser()
parser.add_argument("--dynamic", type=lambda x: bool(strtobool(x)))
arguments = parser.parse_args()
assert __name__ == "__main__"
print(np.zeros(2, np.float).dtype, np.array([1], dtype=np.int).dtype, isinstance(np.float(2), float))
print(arguments.dynamic, helper.VALUE)
print(np.loadtxt(helper.LIST, dtype=str, delimiter="\\n").tolist(), np.loadtxt(["1 2"]).tolist())
"""


def legacy(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "magicmind.legacy", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_old_script(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(SCRIPT)
    (tmp_path / "names").write_text("a cat, sitting\ndog\n")
    (tmp_path / "helper.py").write_text(f"VALUE = 7\nLIST = {str(tmp_path / 'names')!r}\n")
    ended = legacy(tmp_path / "old.py", "--dynamic", "yes")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "float64 int64 True\nTrue 7\n['a cat, sitting', 'dog'] [1.0, 2.0]\n"


def test_old_names_of_pillow(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    (tmp_path / "old.py").write_text("from PIL import Image\nassert Image.ANTIALIAS == Image.LANCZOS\n")
    assert legacy(tmp_path / "old.py").returncode == 0


def test_the_exit_code_is_the_scripts(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("import sys\nsys.exit(3)\n")
    assert legacy(tmp_path / "old.py").returncode == 3


@pytest.mark.parametrize("arguments", [(), ("/none.py",)])
def test_without_a_script(arguments: tuple[str, ...]) -> None:
    ended = legacy(*arguments)
    assert ended.returncode == 2 and "usage" in ended.stderr


def test_truth_values() -> None:
    assert [strtobool(t) for t in ("Yes", "0", "true", "off")] == [1, 0, 1, 0]
    with pytest.raises(ValueError, match="maybe"):
        strtobool("maybe")
