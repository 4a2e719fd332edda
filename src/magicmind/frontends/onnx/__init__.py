"""ONNX files, operator set 7 to the newest that the installed `onnx` knows."""

from magicmind.frontends.onnx.reader import read_onnx

__all__ = ["read_onnx"]
