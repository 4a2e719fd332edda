"""A read file whose graph depends on the shapes of its inputs, and how it becomes a `Graph`.

Caffe's, TensorFlow's and PyTorch's operators are written as ONNX ones with the shapes at hand, so their front-ends keep
the file and convert it again whenever the user sets other shapes. A file may leave ranks open (TorchScript does): then
conversion waits until they are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import onnx_ir

from magicmind.ir.shape_spec import Range
from magicmind.ir.types import TensorType

CHANNELS_FIRST, CHANNELS_LAST = "channels first", "channels last"


class Source(Protocol):
    """A network as its front-end has read it."""

    @property
    def layout(self) -> str:
        """How the framework's images lie: `CHANNELS_FIRST` or `CHANNELS_LAST`."""

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """The declared types of the inputs by name, in order; a shape of None where the file gives no rank."""

    @property
    def outputs(self) -> Sequence[str]:
        """The names of the outputs, in order."""

    def convert(self, inputs: Mapping[str, TensorType], ranges: Mapping[str, Range]) -> onnx_ir.Model:
        """The unified graph for inputs of these types, whose dims may be symbols within these ranges.

        Raises UnsupportedOperatorError naming all operators without an importer, ShapeError, ModelFormatError.
        """
