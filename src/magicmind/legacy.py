"""Runs a program that was written for older libraries: `python -m magicmind.legacy SCRIPT ARGS`.

The script is not touched. What newer libraries have removed, and what can be supplied without guessing, is put back
before it starts: numpy's names of Python's own types, lines as fields of numpy.loadtxt, Pillow's older names of
filters, distutils.util.strtobool.
"""

from __future__ import annotations

import functools
import importlib.util
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

USAGE = "usage: python -m magicmind.legacy SCRIPT [ARGS ...]"

NUMPY: Mapping[str, type] = {"bool": bool, "int": int, "float": float, "complex": complex, "object": object, "str": str}
"""Names that numpy 1.24 removed; newer versions have some of them again, with another meaning, which then stays."""

PILLOW = {"ANTIALIAS": "LANCZOS", "LINEAR": "BILINEAR", "CUBIC": "BICUBIC"}
"""Names that Pillow 10 removed, and those that mean the same."""

_TRUE, _FALSE = ("y", "yes", "t", "true", "on", "1"), ("n", "no", "f", "false", "off", "0")


def strtobool(text: str) -> int:
    """1 or 0 for the words that distutils knew.  Raises ValueError for others."""
    word = text.lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"invalid truth value {text!r}")
    return int(word in _TRUE)


def supply_numpy() -> None:
    """numpy.float and its like."""
    import numpy

    for name, kind in NUMPY.items():
        if name not in vars(numpy):
            setattr(numpy, name, kind)


def supply_pillow() -> None:
    """Image.ANTIALIAS and its like, where Pillow is installed."""
    if importlib.util.find_spec("PIL") is None:
        return
    from PIL import Image

    for old, new in PILLOW.items():
        if not hasattr(Image, old):
            setattr(Image, old, getattr(Image, new))


def supply_distutils() -> None:
    """distutils.util.strtobool, where Python no longer has distutils."""
    if importlib.util.find_spec("distutils") is not None:
        return
    package, util = ModuleType("distutils"), ModuleType("distutils.util")
    package.__path__ = []
    util.strtobool = strtobool  # type: ignore[attr-defined]
    package.util = util  # type: ignore[attr-defined]
    sys.modules.update({"distutils": package, "distutils.util": util})


def supply_loadtxt() -> None:
    """numpy.loadtxt with lines as its fields (delimiter="\\n"), which newer versions refuse."""
    import numpy

    original = numpy.loadtxt

    @functools.wraps(original)
    def loadtxt(fname: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("delimiter") != "\n":
            return original(fname, *args, **kwargs)
        lines = Path(fname).read_text().splitlines() if isinstance(fname, (str, Path)) else list(fname)
        kind = kwargs.get("dtype", float)
        return numpy.array([str(line).strip() for line in lines if str(line).strip()]).astype(kind)

    numpy.loadtxt = loadtxt


SUPPLIES: tuple[Callable[[], None], ...] = (supply_numpy, supply_loadtxt, supply_pillow, supply_distutils)


def main(arguments: list[str]) -> int:
    """Runs the script as Python would: its folder on the path, itself as `__main__`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stderr if not arguments else sys.stdout)
        return 0 if arguments else 2
    script = Path(arguments[0])
    if not script.is_file():
        print(f"magicmind.legacy: there is no script {script}\n{USAGE}", file=sys.stderr)
        return 2
    for supply in SUPPLIES:
        supply()
    sys.argv = arguments
    sys.path.insert(0, str(script.resolve().parent))
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
