"""Who may import whom: the stages of docs/design/0001-architecture.md know nothing of those that come after them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import magicmind

PACKAGE = Path(magicmind.__file__).parent

BASE = frozenset({"__version__", "errors", "files", "knobs", "dtypes", "tensorinfo"})
"""Small modules that any part may use."""

MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "knobs": set(),
    "dtypes": set(),
    "tensorinfo": set(),
    "debug": set(),
    # What runs an offline model.
    "modelfile": set(),
    "runtime": {"modelfile"},
    "plugin": {"runtime"},
    # What makes one, from machine code up to graphs. `runtime` says what this machine is, and how memory is packed.
    "ir": set(),
    "codegen": {"modelfile", "runtime"},
    "kernels": {"codegen", "ir"},
    "lower": {"codegen", "debug", "ir", "kernels", "modelfile", "ops", "runtime"},
    # An operator's lowering stands in its file; of our own host operators the run time has the reference.
    "ops": {"codegen", "ir", "kernels", "lower", "plugin", "runtime"},
    "passes": {"codegen", "debug", "ir", "ops"},
    "source": {"ir"},
    "graph": {"ir", "ops", "passes", "source"},
    "frontends": {"graph", "ir", "ops", "passes", "plugin", "source"},
    # What puts the stages together.
    "tune": {"codegen", "ir", "lower", "modelfile", "runtime"},
    "quant": {"codegen", "graph", "ir", "kernels", "lower", "modelfile", "passes", "runtime"},  # counts by kernels
    "compiler": {"codegen", "graph", "ir", "lower", "modelfile", "passes", "quant", "runtime", "tune"},
    "frameworks": {"frontends"},
    "compare": {"compiler", "frameworks", "frontends", "graph", "ir", "quant", "runtime"},
    "backend": {"compiler", "frontends", "graph", "runtime"},
    "torch_backend": {"compiler", "frontends", "graph", "ir", "runtime", "source"},
    "__init__": {"compiler", "frontends", "graph", "quant", "runtime"},
    "evaluation": {"runtime"},  # scores files that a run has written; boxes overlap as in detectors
    "zoo": {"__init__", "evaluation", "frontends", "graph", "ir", "passes", "quant", "runtime"},
    "facade": {"compiler", "frontends", "graph", "ir", "ops", "passes", "plugin", "quant", "remote", "runtime"},
    "python": {"facade"},
    "remote": {"__init__", "compiler", "frontends", "graph", "ir", "modelfile", "quant", "runtime"},
    "legacy": set(),
    "mmtools": {"cli", "facade", "plugin", "remote", "runtime"},
    "cli": {
        "__init__",
        "codegen",
        "compare",
        "compiler",
        "frontends",
        "graph",
        "ir",
        "modelfile",
        "plugin",
        "quant",
        "remote",
        "runtime",
        "zoo",
    },
}
"""For every folder and module of the package the others it may import, besides BASE."""

REASONS = {
    "runtime": "an offline model runs with numpy alone: the run time may know the file, not what wrote it",
    "modelfile": "the file's format knows neither who writes it nor who runs it",
    "ir": "the graph is what all stages share, so it knows none of them",
    "kernels": "a kernel is made from its frozen spec alone, not from a graph",
    "codegen": "the code generator knows no networks",
    "passes": "passes see operators; memory, kernels and files come after them",
    "frontends": "front-ends write graphs and leave what is done with them to others",
}

NUMPY_ONLY = {"errors", "knobs", "dtypes", "tensorinfo", "modelfile", "runtime", "plugin"}
"""Parts that run where only numpy is installed."""

OPTIONAL = {
    "runtime/host/late.py": {"onnx"},  # Resize to sizes that only the run time knows
    "runtime/host/rare.py": {"PIL"},  # ImageDecoder
}
"""What a few host functions ask for when they are called; ml_dtypes gives names to types that numpy lacks."""

FRAMEWORKS = {"torch", "tensorflow", "keras", "cv2", "google", "onnxruntime"}
"""Imported where a framework's files are read, and where results are compared with the framework's own."""


def sources() -> list[Path]:
    """The modules that users run: no tests and no help for tests."""
    found = sorted(PACKAGE.rglob("*.py"))
    return [f for f in found if not f.stem.endswith(("_test", "_testing")) and PACKAGE / "testing" not in f.parents]


def part_of(file: Path) -> str:
    """The folder of the package that a module is in, or its own name."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, those for types only and those inside functions included."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{file}:{node.lineno}: imports are absolute"
            if node.module == "magicmind":
                yield from ((node.lineno, f"magicmind.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def imported_parts(file: Path) -> Iterator[tuple[int, str]]:
    """(line, part) of the imports of our own."""
    for line, module in imports(file):
        name, _, rest = module.partition(".")
        if name == "magicmind":
            part = rest.partition(".")[0] or "__init__"
            yield line, "__init__" if part in magicmind.__all__ else part


def test_every_part_of_the_package_is_listed() -> None:
    missing = {part_of(file) for file in sources()} - set(MAY_IMPORT)
    assert not missing, "say in MAY_IMPORT what these may import"


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_go_one_way(part: str) -> None:
    allowed = MAY_IMPORT[part] | BASE | {part}
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports {other}"
        for file in sources()
        if part_of(file) == part
        for line, other in imported_parts(file)
        if other not in allowed
    ]
    reason = REASONS.get(part, "see docs/design/0001-architecture.md")
    assert not wrong, f"{part} may import {', '.join(sorted(allowed - {part}))}: {reason}\n" + "\n".join(wrong)


@pytest.mark.parametrize("module", ["magicmind.ops", "magicmind.lower.compile"])
def test_operators_and_lowering_know_each_other_in_any_order(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


def test_the_run_time_needs_numpy_alone() -> None:
    allowed = sys.stdlib_module_names | {"numpy", "ml_dtypes", "magicmind"}
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports {module}"
        for file in sources()
        if part_of(file) in NUMPY_ONLY
        for line, module in imports(file)
        if module.partition(".")[0] not in allowed | OPTIONAL.get(str(file.relative_to(PACKAGE)), set())
    ]
    assert not wrong, "an offline model runs with numpy alone:\n" + "\n".join(wrong)


@pytest.mark.slow
def test_frameworks_are_imported_where_their_files_are_read() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports {module}"
        for file in sources()
        if part_of(file) not in ("frontends", "frameworks", "compare", "torch_backend", "zoo")
        for line, module in imports(file)
        if module.partition(".")[0] in FRAMEWORKS
    ]
    assert not wrong, "the graph is ours from the front-ends on; a framework's objects stay there:\n" + "\n".join(wrong)
