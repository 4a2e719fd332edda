"""Files and objects of PyTorch: which kind they are, and how they are opened safely.

A TorchScript file or an exported program holds a program and is read as one. A pickled module would run code of its
author while it loads, so it is refused; so is a state dict, which has no program.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

import magicmind.frontends.pytorch.aten  # noqa: F401  (fills the table of importers)
from magicmind.errors import Error, ModelFormatError
from magicmind.frontends.pytorch.arguments import Arguments
from magicmind.frontends.pytorch.exported_source import ExportedSource
from magicmind.frontends.pytorch.plugins import define_plugins
from magicmind.frontends.pytorch.script_source import ScriptSource
from magicmind.frontends.pytorch.values import map_leaves
from magicmind.graph import SourceGraph
from magicmind.ir.shape_spec import ShapeSpecs, parse_dim_spec

Dtypes = Mapping[str, str] | Sequence[str]


def read_pytorch(
    source: object,
    *,
    input_shapes: ShapeSpecs | None = None,
    input_dtypes: Dtypes | None = None,
    constants: Mapping[str, Any] | None = None,
    example_inputs: Sequence[Any] | None = None,
) -> SourceGraph:
    """The graph of a TorchScript file, an exported program (`.pt2`) or a module.

    input_dtypes: by name or in order; `float32` unless an input holds positions. constants: fixes arguments of
    `forward`. example_inputs: what a module is traced with; by default ones of `input_shapes`.
    Raises ModelFormatError, UnsupportedOperatorError, ShapeError.
    """
    define_plugins()
    if isinstance(source, torch.nn.Module) and not isinstance(source, torch.jit.ScriptModule):
        source = _traced(source, input_shapes, input_dtypes, example_inputs)
    elif isinstance(source, (str, os.PathLike)):
        source = load_program(Path(source))
    if isinstance(source, ExportedProgram):
        if input_dtypes or constants:
            raise ModelFormatError("an exported program has its dtypes and constants in it")
        exported = ExportedSource(source)
        return SourceGraph.of(exported, input_shapes, exported.ranges)
    if not isinstance(source, torch.jit.ScriptModule):
        raise ModelFormatError(f"a {type(source).__name__} is no program of PyTorch")
    return SourceGraph.of(ScriptSource(source, _named(source, input_dtypes), constants), input_shapes)


def _named(module: torch.jit.ScriptModule, dtypes: Dtypes | None) -> dict[str, torch.dtype]:
    if not isinstance(dtypes, Mapping):
        dtypes = dict(zip(Arguments(module, {}, {}).inputs, dtypes or (), strict=False))
    return {name: _dtype(str(d)) for name, d in dtypes.items()}


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise ModelFormatError(f"{name!r} is no dtype", hint="dtypes are float32, float16, int64, bool, ...")
    return found


# ------------------------------------------------------------------------------------------------------------- files


def load_program(path: Path) -> torch.jit.ScriptModule | ExportedProgram:
    """The program in a file.  Raises ModelFormatError for what is none; nothing in the file is run."""
    entries = _entries(path)
    try:
        if any(name.endswith(("models/model.json", "serialized_exported_program.json")) for name in entries):
            return torch.export.load(path)
        if any(name.endswith("/constants.pkl") for name in entries):
            module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            return module.eval()
    except Exception as error:  # torch raises what its many readers raise
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelFormatError(f"{path} cannot be opened by PyTorch: {first[0]}", hint="save it again") from error
    raise ModelFormatError(
        f"{path} holds weights without a program (a state dict or a pickled module)",
        hint="load it into its module and pass that, or save torch.jit.trace(module, example_input)",
    )


def _entries(path: Path) -> list[str]:
    """The names in the archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError) as error:  # what zipfile raises
        if _is_old_pickle(path):
            raise ModelFormatError(
                f"{path} is a pickle of an old PyTorch: weights without a program",
                hint="load it into its module and pass that, or save torch.jit.trace(module, example_input)",
            ) from error
        raise ModelFormatError(
            f"{path} is no file of PyTorch, or it is cut off: {error}", hint="copy or save the model again"
        ) from error


def _is_old_pickle(path: Path) -> bool:
    """Files before PyTorch 1.6 begin with a pickled number."""
    with path.open("rb") as file:
        return file.read(2) in (b"\x80\x02", b"\x80\x03", b"\x80\x04")


# ----------------------------------------------------------------------------------------------------------- modules


def _traced(
    module: torch.nn.Module,
    shapes: ShapeSpecs | None,
    dtypes: Dtypes | None,
    examples: Sequence[Any] | None,
) -> torch.jit.ScriptModule:
    """The module as a program: what `forward` does for an example."""
    if module.training:
        raise ModelFormatError("the module is in training mode", hint="call eval() on it first")
    given = tuple(examples) if examples is not None else _examples(shapes, dtypes)
    was_fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # whole layers as one operator would hide their parts
    try:
        with torch.no_grad():
            return torch.jit.trace(module, given, check_trace=False, strict=False)  # type: ignore[no-any-return,no-untyped-call]
    except Error:
        raise
    except Exception as error:  # whatever the user's forward raises
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelFormatError(
            f"the module's forward fails on {_shapes(given)}: {text}",
            hint="give example_inputs, or input_shapes and input_dtypes, that it takes",
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fused)


def _shapes(given: Any) -> str:
    """The example in short."""
    return str(map_leaves(lambda v: tuple(v.shape) if isinstance(v, torch.Tensor) else v, list(given)))


def _examples(shapes: ShapeSpecs | None, dtypes: Dtypes | None) -> tuple[torch.Tensor, ...]:
    """Tensors of the smallest shapes wanted, but 2 where a range allows: sizes of 1 are traced as broadcasts."""
    if not shapes:
        raise ModelFormatError(
            "a module needs an example to be traced with", hint="give example_inputs or input_shapes"
        )
    listed = list(shapes.values()) if isinstance(shapes, Mapping) else list(shapes)
    kinds = list(dtypes.values()) if isinstance(dtypes, Mapping) else list(dtypes or ())
    made = []
    for i, shape in enumerate(listed):
        dtype = _dtype(kinds[i]) if i < len(kinds) else torch.float32
        made.append(torch.zeros([_size(d) for d in shape], dtype=dtype))
    return tuple(made)


def _size(spec: Any) -> int:
    dim, allowed = parse_dim_spec(spec, "d")
    if isinstance(dim, int) or allowed is None:
        return int(dim) if isinstance(dim, int) else 2
    low, high = allowed
    return max(low, 2) if high is None or high >= 2 else low
