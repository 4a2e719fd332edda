"""Networks run by the framework they were made with: what `magicmind compare --reference source` measures against.

Each module runs one framework's files and returns every tensor that carries a name of the source. Nothing else in the
package needs them, nor the frameworks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import Error, MissingExtraError

Array = np.ndarray[Any, np.dtype[Any]]
Evaluate = Callable[[Path, Mapping[str, Any], Mapping[str, Array]], dict[str, Array]]

_MODULES = {
    ".caffemodel": ("opencv", "cv2", "pip install 'opencv-python-headless<5'"),
    ".prototxt": ("opencv", "cv2", "pip install 'opencv-python-headless<5'"),
    ".pt": ("pytorch", "torch", "pip install 'magicmind[pytorch]'"),
    ".jit": ("pytorch", "torch", "pip install 'magicmind[pytorch]'"),
    ".pt2": ("pytorch", "torch", "pip install 'magicmind[pytorch]'"),
    ".pb": ("tensorflow", "tensorflow", "pip install 'magicmind[tensorflow]'"),
}


def evaluate(path: Path, options: Mapping[str, Any], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The named tensors of a network for these inputs; `options` are those it was parsed with.

    Raises Error for files that no framework here runs, MissingExtraError.
    """
    if path.suffix not in _MODULES:
        known = ", ".join(_MODULES)
        raise Error(
            f"{path} has no framework of its own to run it", hint=f"files with one: {known}; or use onnxruntime"
        )
    module, package, command = _MODULES[path.suffix]
    try:
        run: Evaluate = import_module(f"magicmind.frameworks.{module}").evaluate
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtraError(f"running {path} needs the package {package!r}", hint=command) from error
    return run(path, options, feeds)
