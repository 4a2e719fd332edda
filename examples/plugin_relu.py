"""PluginReLU of MagicMind's C++ samples as a numpy function: FuncType 0 is max(x, 0), 1 is min(max(x, 0), 6).

magicmind build net.onnx --plugin_path examples/plugin_relu.py     the network calls plugin.PluginReLU
magicmind run net.mm --plugin_path examples/plugin_relu.py
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magicmind import plugin


def types(input: plugin.TensorSpec, *, Dim: Sequence[int] = (), FuncType: int = 0) -> plugin.TensorSpec:
    """The result is like the input; what the sample passes as `Dim` is its shape, which is known without."""
    if FuncType not in (0, 1):
        raise ValueError(f"FuncType is {FuncType}; 0 (ReLU) and 1 (ReLU6) are known")
    return input


def compute(input: np.ndarray, *, Dim: Sequence[int] = (), FuncType: int = 0) -> np.ndarray:
    found = np.maximum(input, 0)
    return np.asarray(np.minimum(found, 6) if FuncType else found)


plugin.register(
    "PluginReLU",
    types=types,
    compute=compute,
    schema="PluginReLU(Tensor input, *, int[] Dim=[], int FuncType=0) -> Tensor",
)
