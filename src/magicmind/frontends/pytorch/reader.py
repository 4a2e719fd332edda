"""Files of PyTorch: which kind they are, and how they are opened safely."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import magicmind.frontends.pytorch.aten  # noqa: F401  (fills the table of importers)
from magicmind.errors import ModelFormatError
from magicmind.frontends.pytorch.script_source import ScriptSource, arguments_of
from magicmind.graph import SourceGraph
from magicmind.ir.shape_spec import ShapeSpecs


def read_pytorch(
    source: str | os.PathLike[str],
    *,
    input_shapes: ShapeSpecs | None = None,
    input_dtypes: Mapping[str, str] | Sequence[str] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> SourceGraph:
    """The graph of a TorchScript file.

    `input_dtypes` by name or in order (`float32` unless an input holds positions); `constants` fixes arguments of
    forward. Raises ModelFormatError, UnsupportedOperatorError, ShapeError.
    """
    path = Path(source)
    module = _load(path)
    if not isinstance(input_dtypes, Mapping):
        names = [a.name for a in arguments_of(module)]
        input_dtypes = dict(zip(names, input_dtypes or (), strict=False))
    dtypes = {name: _dtype(str(d)) for name, d in input_dtypes.items()}
    return SourceGraph.of(ScriptSource(module, dtypes, constants), input_shapes)


def _load(path: Path) -> torch.jit.ScriptModule:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.namelist()
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    except zipfile.BadZipFile as error:
        raise ModelFormatError(f"{path} is no TorchScript file: {error}", hint="save it with torch.jit.save") from error
    if not any(name.endswith("/constants.pkl") for name in entries):
        raise ModelFormatError(
            f"{path} holds weights without a program (a state dict or a pickled module)",
            hint="load it into its module and save torch.jit.trace(module, example), or pass the module itself",
        )
    try:
        module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelFormatError(f"{path} is no TorchScript file: {str(error).splitlines()[0]}") from error
    return module.eval()


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise ModelFormatError(f"{name!r} is no dtype", hint="dtypes are float32, float16, int64, bool, ...")
    return found
