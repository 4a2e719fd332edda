"""ONNX files, operator set 1 to the newest that the installed `onnx` knows."""

from magicmind.frontends.onnx import upgrade_early  # noqa: F401  (adds its rules)
from magicmind.frontends.onnx.reader import read_onnx

__all__ = ["read_onnx"]
